import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { natsWithStreams, quick } from "../testing/nats-under-test.ts"
import { readUpTo } from "../testing/reading.ts"
import { commitOn, onAccess } from "../testing.ts"
import { type Api, ask } from "./api.ts"
import { openJournal } from "./journal.ts"

interface Led {
  readonly cluster?: { readonly leader?: string }
}

const leaderOf = (api: Api, stream: string) =>
  Effect.map(ask<Led>(api, `STREAM.INFO.${stream}`), ({ cluster }) => Number(cluster?.leader?.split("-").at(-1)) - 1)

it.live("the leader dies while many append: nothing acknowledged is lost, and no order is broken", () =>
  Effect.scoped(Effect.gen(function*() {
    const { api, servers, urls } = yield* natsWithStreams(3)
    const journal = yield* openJournal({ nats: { servers: urls, name: "writers" }, ...quick })
    const reader = yield* journal.read("GATEWAY", { after: 0 })
    const line = yield* journal.line("ACCESS", 0)
    yield* line.send(onAccess("kept", "first")).outcome
    const acknowledged = new Map<string, number>()
    const writer = (number: number) => Effect.gen(function*() {
      for (let word = 0, last = 0; word < 60; word += 1) {
        const commit = commitOn(`survives-${number}`, word)
        last = (yield* journal.append(commit, { last: "subject", sequence: last })).sequence
        acknowledged.set(commit.facts[0].id, last)
      }
    })
    const writers = yield* Effect.forkChild(Effect.all(Array.from({ length: 12 }, (_, number) => writer(number)), { concurrency: "unbounded" }), { startImmediately: true })
    while (acknowledged.size < 100) yield* Effect.sleep(2)
    const leader = servers[yield* leaderOf(api, "GATEWAY")]!
    const sent = Array.from({ length: 400 }, (_, number) => line.send(onAccess("kept", number)))
    yield* leader.kill
    assert.isBelow(acknowledged.size, 720, "the writers had finished before the leader died")
    yield* Fiber.join(writers)
    for (const { outcome, sequence } of sent) assert.strictEqual((yield* outcome).sequence, sequence)

    const found: Array<number> = []
    const lastOf = new Map<string, number>()
    while (found.length < acknowledged.size) {
      for (const { facts, place, subject } of yield* reader.take) {
        found.push(place.sequence)
        assert.strictEqual(acknowledged.get(facts[0]?.id ?? ""), place.sequence)
        assert.strictEqual(place.prev, lastOf.get(subject.story ?? "") ?? 0)
        lastOf.set(subject.story ?? "", place.sequence)
      }
    }
    assert.deepStrictEqual(found, Array.from({ length: 720 }, (_, index) => index + 1))
    const said = (yield* readUpTo(journal, "ACCESS", 0)).filter(({ facts }) => facts.length > 0)
    assert.deepStrictEqual(said.map(({ facts }) => facts[0]?.id), ["first", ...Array.from({ length: 400 }, (_, number) => number)].map((word) => onAccess("kept", word).facts[0].id))
  })), 90_000)
