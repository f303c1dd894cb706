import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { FactId } from "@millrace/schemas"
import type { Commit } from "../commit.ts"
import { apiOf, quick } from "../testing/nats-under-test.ts"
import { readUpTo } from "../testing/reading.ts"
import { serverOnSmallDisk, wayToSmallDisk } from "../testing/small-disk.ts"
import { commitOn, onAccess } from "../testing.ts"
import { openJournal } from "./journal.ts"
import { provisionStreams } from "./streams.ts"

const factsEach = 20

const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (holds() ? Effect.void : Effect.andThen(Effect.sleep("10 millis"), until(holds))))

const idsOf = ({ facts }: Commit): ReadonlyArray<FactId> => facts.map(({ id }) => id)

const way = wayToSmallDisk()

// Where no namespace may be made nothing could be filled but the machine's own disk; there `a full stream
// refuses` in refusals.test.ts is what stands for it.
if (way !== undefined) {
  it.live("a disk that is full under the server: appends wait, and once there is room they go on, with nothing acknowledged lost and no commit in part", () =>
    Effect.scoped(Effect.gen(function*() {
      const { fill, free, server } = yield* serverOnSmallDisk(way, 24)
      yield* provisionStreams(yield* apiOf(server.url))
      const journal = yield* openJournal({ nats: { servers: server.url, name: "test" }, ...quick })
      const commits: Array<Commit> = []
      let acknowledged = 0
      const writing = yield* Effect.forkChild(Effect.forever(Effect.suspend(() => {
        const commit = commitOn("on-small-disk", commits.length, { facts: factsEach })
        commits.push(commit)
        return Effect.tap(journal.append(commit, { last: "stream", sequence: acknowledged }), () => Effect.sync(() => void (acknowledged += 1)))
      })))
      yield* until(() => acknowledged >= 10)
      fill(128 * 1024)
      yield* until(() => /no space left/iu.test(readFileSync(join(server.storeDir, "nats-server.log"), "utf8")))
      const before = acknowledged
      // A line that opens now has its whole fence before it, or nothing.
      const line = yield* journal.line("ACCESS", 0)
      const sent = Array.from({ length: 5 }, (_, number) => ({ commit: onAccess("on-small-disk", number), ...line.send(onAccess("on-small-disk", number)) }))
      assert.isUndefined(writing.pollUnsafe(), "an append on a full disk was answered for good")
      free()
      yield* server.restart
      yield* until(() => acknowledged >= before + 10)
      yield* Fiber.interrupt(writing)
      for (const { outcome, sequence } of sent) assert.strictEqual((yield* outcome).sequence, sequence)
      const said = (yield* readUpTo(journal, "ACCESS", 0)).filter(({ facts }) => facts.length > 0)
      assert.deepStrictEqual(said.map(({ facts, place }) => [facts[0]?.id, place.sequence]), sent.map(({ commit, sequence }) => [commit.facts[0].id, sequence]))
      const stored = yield* readUpTo(journal, "GATEWAY", 0)
      assert.isAtLeast(stored.length, acknowledged)
      assert.deepStrictEqual(
        stored.map(({ facts }) => facts.map(({ event, id }) => event._tag === "Success" ? id : "unreadable")),
        commits.slice(0, stored.length).map((commit) => [...idsOf(commit)])
      )
    })), 60_000)
}
