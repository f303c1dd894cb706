import { broker, comparable as bought, leases } from "@millrace/broker"
import { tables } from "@millrace/gateway"
import { type StreamDecider, verify } from "@millrace/journal"
import { metering } from "@millrace/metering"
import { contentHash, type Projection, rebuildHash } from "@millrace/readmodel"
import { caughtUp } from "@millrace/readmodel/testing"
import { comparable as placed, scheduler } from "@millrace/scheduler"
import { snapshotsKept } from "@millrace/snapshots"
import { Effect } from "effect"
import { decisions } from "../../services/access/src/projections/decisions.ts"
import { grants } from "../../services/access/src/projections/grants.ts"
import { principals } from "../../services/access/src/projections/principals.ts"
import { usage } from "../../services/metering/src/projections/tables.ts"
import { cell as hostsAndWaits } from "../../services/scheduler/src/projections/cell.ts"
import type { Cell } from "./cell.ts"
import type { ServiceName } from "./supervisor.ts"

/** What each service remembers of the log. */
const projections: Partial<Record<ServiceName, ReadonlyArray<Projection>>> = {
  gateway: [tables],
  scheduler: [hostsAndWaits],
  access: [grants, principals, decisions],
  metering: [usage],
  broker: [leases],
  snapshots: [snapshotsKept]
}

const patienceMs = 60_000

/** Tables that differ from what the log says when it is read again, once they have taken in all of it: those of one service, or of all. */
export const differingTables = (cell: Cell, service?: ServiceName) =>
  Effect.gen(function*() {
    const differing: Array<string> = []
    for (const projection of service === undefined ? Object.values(projections).flat() : projections[service] ?? []) {
      yield* caughtUp(projection, patienceMs)
      const { cut, hash } = yield* contentHash(projection)
      const rebuilt = (yield* rebuildHash(projection, cut)).hash
      // A line for each table.
      const again = new Set(rebuilt.split("\n"))
      if (hash !== rebuilt) differing.push(...hash.split("\n").filter((line) => !again.has(line)).map((line) => `${projection.name}: ${line}`))
    }
    return differing
  }).pipe(Effect.provide(cell.reading))

interface Replayed {
  readonly decider: StreamDecider<any>
  readonly comparable?: (event: unknown) => unknown
}

/**
 * Who decides in an order of its own, from facts alone, and what of a decision is no part of it. That a snapshot's
 * bytes are whole is no fact: what snapshots says of them cannot be said again by whoever has the log alone.
 */
const deciders: Partial<Record<ServiceName, Replayed>> = {
  scheduler: { decider: scheduler, comparable: placed },
  metering: { decider: metering },
  broker: { decider: broker, comparable: bought }
}

/** Decisions in the log that the service's code does not make again from what they saw: those of one service, or of all. */
export const strangeDecisions = (cell: Cell, service?: ServiceName) =>
  Effect.gen(function*() {
    const asked = service === undefined ? Object.values(deciders) : [deciders[service]].filter((one) => one !== undefined)
    const verdicts = yield* Effect.forEach(asked, ({ comparable, decider }) => verify(decider, comparable === undefined ? {} : { comparable }))
    return verdicts.flatMap(({ mismatches }) => mismatches)
  }).pipe(Effect.provide(cell.reading))
