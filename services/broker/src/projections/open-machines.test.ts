import { assert, describe, it } from "@effect/vitest"
import { deriveId, namedId } from "@millrace/decider"
import { testDatabase } from "@millrace/infra-postgres"
import { Journal, memoryJournal, MemoryLog } from "@millrace/journal"
import { Database, read, runProjection } from "@millrace/readmodel"
import { type FactId, type LeaseId, type MillFact, Principal } from "@millrace/schemas"
import { Effect, Layer, Redacted } from "effect"
import { granted, provider } from "../testing/desk.ts"
import { leases } from "./leases.ts"
import { leaksIn, openMachines } from "./open-machines.ts"

const lease = (number: number): LeaseId => namedId<LeaseId>("lse", String(number))

describe("what is open", () => {
  it.live("is counted whole, and what leaks is found among it, however many machines there are", () =>
    Effect.scoped(Effect.gen(function*() {
      const journal = memoryJournal(new MemoryLog())
      let sequence = 0
      const say = (events: ReadonlyArray<MillFact>) => {
        const facts = events.map((event, at) => {
          const id = deriveId<FactId>("fct", 1, sequence, at)
          return { id, partOf: id, event }
        })
        const [first, ...others] = facts
        return Effect.map(
          journal.append({ subject: { kind: "machine", scope: provider, story: lease(sequence) }, actor: Principal.make("service:broker"), happenedAtMs: 1, facts: [first!, ...others] }, { last: "stream", sequence }),
          (stored) => void (sequence = stored.sequence)
        )
      }
      const names = Array.from({ length: 1_200 }, (_, number) => lease(number)).sort()
      for (const id of names) yield* say([granted(id, { pricePicoPerSecond: 1_000n })])
      // One that has ended counts for nothing, and one without a machine has no price to add.
      yield* say([{ _tag: "LeaseEnded", leaseId: names[0]!, provider, confirmed: "terminated", endedAtMs: 1, costPico: 1n }])
      const newest = names.at(-1)!
      yield* say([{ _tag: "LeaseReleased", leaseId: newest, provider, cause: "idle" }])
      yield* say([{ _tag: "GhostFound", leaseId: names.at(-2)!, provider, machine: "m", lastSeenAtMs: 1, sweeps: 1 }])
      const world = Layer.merge(Layer.succeed(Journal, journal), Database.layer({ url: Redacted.make(yield* testDatabase()) }))
      yield* Effect.gen(function*() {
        yield* Effect.forkScoped(runProjection(leases))
        const { value } = yield* Effect.retry(
          read(leases, async (given) => ({ open: await openMachines(given), leaks: await leaksIn(given, 1) }), { after: { BROKER: sequence }, waitMsMax: 30_000 }),
          { times: 100, while: ({ _tag }) => _tag === "ReadTooOld" }
        )
        assert.deepStrictEqual(value.open, { machines: 1_199, picoPerHour: String(1_199 * 1_000 * 3_600) })
        assert.deepInclude(value.leaks, { machines: 2, picoPerHour: String(2 * 1_000 * 3_600) })
        assert.deepStrictEqual(value.leaks.rows.map((row) => row.lease_id), [names.at(-2)!])
      }).pipe(Effect.provide(world))
    })), 120_000)
})
