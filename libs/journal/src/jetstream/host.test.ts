import { assert, it } from "@effect/vitest"
import { startCell } from "@millrace/infra-nats"
import { deriveId } from "@millrace/decider"
import { type FactId, HostDraining, HostId, type Principal, SchedulerTookOver } from "@millrace/schemas"
import { jwtAuthenticator } from "@nats-io/transport-node"
import { Deferred, Effect } from "effect"
import { join } from "node:path"
import { HOST_API_PREFIX, makeAdmission, newSeed, signingKey } from "../admission/index.ts"
import type { Commit } from "../commit.ts"
import { folder, quick } from "../testing/nats-under-test.ts"
import { connectNats } from "./connect.ts"
import { openJournal } from "./journal.ts"
import { provisionStreams } from "./streams.ts"

const hostId = HostId.make("hst_01K90000000000000000000001")
const other = HostId.make("hst_01K90000000000000000000002")

const said = (word: string, host: HostId = hostId): Commit => {
  const id = deriveId<FactId>("fct", 1_700_000_000_000, host, word)
  return {
    subject: { kind: "host", scope: host },
    actor: `host:${hostId}` as Principal,
    happenedAtMs: 1_700_000_000_000,
    facts: [{ id, partOf: id, event: HostDraining.make({ hostId: host, cause: word }) }]
  }
}

it.live("a host, which may look at nothing but its own last word, appends, tells again, reads and reacts through its own door", () =>
  Effect.scoped(Effect.gen(function*() {
    const dir = yield* folder
    const cell = yield* startCell({ storeDir: join(dir, "store"), keysDir: join(dir, "keys") })
    const servers = cell.urls
    const provisioner = yield* connectNats({ servers, name: "provisioner", credentialsFile: cell.keys.credsFile("provisioner") })
    yield* provisionStreams({ connection: provisioner, prefix: "$JS.API", patienceMs: 10_000 })
    const admission = yield* makeAdmission({ servers, creds: cell.keys.creds("access"), keys: cell.keys.admission })
    const seed = newSeed("user")
    const { inboxPrefix, jwt } = yield* admission.admitHost({ hostId, publicKey: signingKey(seed).publicKey })

    const host = yield* openJournal({
      nats: { servers, name: hostId, inboxPrefix, authenticator: jwtAuthenticator(jwt, new TextEncoder().encode(seed)) },
      apiPrefix: HOST_API_PREFIX,
      host: { epoch: 1 },
      ...quick
    })
    assert.isUndefined(yield* host.last({ kind: "host", scope: hostId }))
    const first = yield* host.append(said("first"), { last: "subject", sequence: 0 })
    const second = yield* host.append(said("second"), { last: "subject", sequence: first.sequence })
    assert.deepStrictEqual(yield* host.append(said("second"), { last: "subject", sequence: first.sequence }), second)
    assert.deepInclude(yield* Effect.flip(host.append(said("late"), { last: "subject", sequence: first.sequence })), { _tag: "Overtaken", actual: second.sequence })
    assert.strictEqual((yield* host.last({ kind: "host", scope: hostId }))?.place.sequence, second.sequence)
    assert.deepInclude(yield* Effect.flip(host.append(said("forged", other), { last: "subject", sequence: 0 })), { _tag: "CommitRefused", reason: "not_permitted" })

    const scheduler = yield* openJournal({ nats: { servers, name: "scheduler", credentialsFile: cell.keys.credsFile("scheduler") }, writes: ["SCHEDULER"], ...quick })
    const heard = yield* Deferred.make<number>()
    yield* Effect.forkScoped(host.react({ stream: "SCHEDULER", durable: `host-${hostId}` }, ({ place }) => Effect.asVoid(Deferred.succeed(heard, place.sequence))))
    const line = yield* scheduler.line("SCHEDULER", 0)
    const took = { ...said("placed"), facts: [{ id: said("placed").facts[0].id, partOf: said("placed").facts[0].id, event: SchedulerTookOver.make({ term: 1, scheduler: "service:scheduler" as Principal, codeVersion: "1" }) }] as const }
    yield* line.send({ ...took, subject: { kind: "fleet", scope: "cell" } }).outcome
    const placed = line.send({ ...took, subject: { kind: "placement", scope: hostId } })
    yield* placed.outcome
    assert.strictEqual(yield* Deferred.await(heard), placed.sequence)
  })))
