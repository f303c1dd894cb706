import { assert, layer } from "@effect/vitest"
import { jetStreamStore } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { CommitRefused, type Commit, type StoredCommit } from "@millrace/journal"
import { credentialsIn, hostConsumer, HOST_API_PREFIX, hostCredentials, newSeed, services, type ServiceName, signingKey } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import { DemandChanged, type FactId, HostDraining, HostId, type MillFact, type Principal, type StreamName, type Subject } from "@millrace/schemas"
import { Deferred, Effect, Option, Stream } from "effect"
import { readFileSync } from "node:fs"
import { CellUnderTest, folder } from "./testing/cell-under-test.ts"

/** The clients that the product uses, each with the credentials it is given: what they need is what they may. */
let told = 0
const saying = (subject: Subject, event: MillFact): Commit => {
  const id = deriveId<FactId>("fct", 1_700_000_000_000, "test", ++told)
  return { subject, actor: "service:test" as Principal, happenedAtMs: 1_700_000_000_000, facts: [{ id, partOf: id, event }] }
}
const demand: Subject = { kind: "demand", scope: "cell" }
const demanded = () => saying(demand, DemandChanged.make({ classes: [] }))

const journalOf = Effect.fnUntraced(function*(name: ServiceName) {
  const { cell } = yield* CellUnderTest
  const room: { readonly writes?: StreamName; readonly hears: ReadonlyArray<StreamName> } = services[name]
  const writes = room.writes === undefined ? [] : [room.writes]
  return yield* openJournal({
    nats: { servers: cell.urls, name, ...credentialsIn(readFileSync(cell.keys.credsFile(name), "utf8")) },
    streams: [...writes, ...room.hears],
    writes
  })
})

const journalOfHost = Effect.fnUntraced(function*(hostId: HostId) {
  const { admission, cell } = yield* CellUnderTest
  const seed = newSeed("user")
  const { jwt } = yield* admission.admitHost({ hostId, publicKey: signingKey(seed).publicKey })
  return yield* openJournal({
    nats: { servers: cell.urls, name: hostId, ...hostCredentials(seed, () => jwt) },
    apiPrefix: HOST_API_PREFIX,
    host: { epoch: 1 }
  })
})

layer(CellUnderTest.layer, { excludeTestServices: true })("with nothing but its own credentials", (it) => {
  it.effect("every service opens the journal: its streams are what the schemas say, and it may write its own", () =>
    Effect.forEach(Object.keys(services) as Array<ServiceName>, (name) => Effect.scoped(journalOf(name)), { discard: true }))

  it.effect("the scheduler appends, keeps a line, reads and replays what it said", () =>
    Effect.gen(function*() {
      const journal = yield* journalOf("scheduler")
      const first = yield* journal.append(demanded(), { last: "stream", sequence: yield* journal.head("SCHEDULER") })
      const line = yield* journal.line("SCHEDULER", first.sequence)
      const second = yield* line.send(demanded()).outcome
      const said = (yield* journal.story(demand)).map(({ place }) => place.sequence)
      assert.deepStrictEqual(said.slice(0, 2), [first.sequence, second.sequence])
      const reader = yield* journal.read("SCHEDULER", { after: 0, filter: "mill.demand.cell" })
      assert.strictEqual((yield* reader.take)[0]?.place.sequence, first.sequence)
    }))

  it.effect("a service hears another's facts by a reactor of its own, and is refused its subjects", () =>
    Effect.gen(function*() {
      const [scheduler, broker] = [yield* journalOf("scheduler"), yield* journalOf("broker")]
      const heard = yield* Deferred.make<StoredCommit>()
      yield* Effect.forkScoped(broker.react({ stream: "SCHEDULER", durable: "broker-test", filter: "mill.demand.cell" }, (commit) => Deferred.succeed(heard, commit)))
      yield* scheduler.append(demanded(), { last: "stream", sequence: yield* scheduler.head("SCHEDULER") })
      assert.strictEqual((yield* Deferred.await(heard)).subject.kind, "demand")
      const refused = yield* Effect.flip(broker.append(demanded(), { last: "stream", sequence: 0 }))
      assert.instanceOf(refused, CommitRefused)
      assert.deepInclude(refused, { reason: "not_permitted" })
    }))

  it.effect("a host says its facts, looks up its last, and takes what is placed on it and on nobody else", () =>
    Effect.gen(function*() {
      const [h1, h9] = [HostId.make(`hst_01K9${"1".padStart(22, "0")}`), HostId.make(`hst_01K9${"9".padStart(22, "0")}`)]
      const { inCell } = yield* CellUnderTest
      const journal = yield* journalOfHost(h1)
      const own: Subject = { kind: "host", scope: h1 }
      const draining = (hostId: HostId) => saying({ kind: "host", scope: hostId }, HostDraining.make({ hostId, cause: "test" }))
      const { sequence } = yield* journal.append(draining(h1), { last: "subject", sequence: 0 })
      yield* journal.append(draining(h1), { last: "subject", sequence })
      assert.strictEqual((yield* journal.last(own))?.place.prev, sequence)
      assert.deepInclude(yield* Effect.flip(journal.append(draining(h9), { last: "subject", sequence: 0 })), { reason: "not_permitted" })

      const heard = yield* Deferred.make<StoredCommit>()
      yield* Effect.forkScoped(journal.react({ stream: "SCHEDULER", durable: hostConsumer(h1) }, (commit) => Deferred.succeed(heard, commit)))
      const admin = yield* inCell("everything")
      for (const host of [h9, h1]) admin.publish(`mill.placement.${host}`)
      assert.strictEqual((yield* Deferred.await(heard)).subject.scope, h1)
    }))

  it.effect("who keeps blobs writes, reads and removes them", () =>
    Effect.gen(function*() {
      const { as } = yield* CellUnderTest
      const spool = yield* folder
      const store = yield* jetStreamStore({ connection: yield* as("gateway"), bucket: "blobs", spool })
      const bytes = new TextEncoder().encode("kept")
      const { digest } = yield* store.put(Stream.make(bytes), Option.none())
      const read = yield* Stream.runCollect(store.read(digest, { offsetBytes: 0 }))
      assert.strictEqual(Buffer.concat(read).toString(), "kept")
      assert.isTrue(yield* store.remove(digest, Number.MAX_SAFE_INTEGER))
    }))
})
