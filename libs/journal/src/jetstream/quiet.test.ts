import { assert, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer } from "effect"
import type { NatsServer } from "@millrace/infra-nats"
import type { JournalShape } from "../journal.ts"
import { natsWithStreams } from "../testing/nats-under-test.ts"
import { commitOn, storyOf } from "../testing.ts"
import { openJournal } from "./journal.ts"

/** So much longer than any test that whatever waits for it fails. */
const neverMs = 600_000

/** A journal that looks after nothing now and then: it hears what it is told at once, or never. */
class Quiet extends Context.Service<Quiet, { readonly journal: JournalShape; readonly server: NatsServer }>()("test/Quiet") {
  static readonly layer = Layer.effect(Quiet, Effect.gen(function*() {
    const { servers: [server], urls } = yield* natsWithStreams(1)
    const journal = yield* openJournal({
      nats: { servers: urls, name: "quiet" },
      publisher: { timeoutMs: neverMs },
      reader: { progressMs: neverMs, pullMs: 200 }
    })
    return { journal, server: server! }
  }))
}

layer(Quiet.layer, { excludeTestServices: true, timeout: "60 seconds" })("after a quiet time", (it) => {
  it.effect("a reader and a reactor hear the next commit at once: what they asked for ran out, and they asked again", () =>
    Effect.scoped(Effect.gen(function*() {
      const { journal } = yield* Quiet
      const reader = yield* journal.read("GATEWAY", { after: yield* journal.head("GATEWAY") })
      const reacted = yield* Deferred.make<number>()
      yield* Effect.forkScoped(journal.react({ stream: "GATEWAY", durable: "test-quiet", filter: "mill.job.quiet.*" }, ({ place }) =>
        Effect.asVoid(Deferred.succeed(reacted, place.sequence))))
      yield* Effect.sleep(500)
      const { sequence } = yield* journal.append(commitOn("quiet", "once", { workspace: "quiet" }), { last: "subject", sequence: 0 })
      assert.deepStrictEqual((yield* reader.take).map(({ place }) => place.sequence), [sequence])
      assert.strictEqual(yield* Deferred.await(reacted), sequence)
    })))

  it.effect("an append that was made while the server was away is sent again as soon as it is back", () =>
    Effect.scoped(Effect.gen(function*() {
      const { journal, server } = yield* Quiet
      yield* server.kill
      const appending = yield* Effect.forkChild(journal.append(commitOn("meanwhile"), { last: "subject", sequence: 0 }), { startImmediately: true })
      yield* Effect.sleep(300)
      yield* server.restart
      const { sequence } = yield* Fiber.join(appending)
      assert.strictEqual((yield* journal.last(storyOf("meanwhile")))?.place.sequence, sequence)
    })))
})
