import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { encodeCommit } from "../codec.ts"
import { natsWithStreams } from "../testing/nats-under-test.ts"
import { commitOn } from "../testing.ts"
import { subjectText } from "@millrace/schemas"
import { connectNats } from "./connect.ts"
import { GroupCommit } from "./group-commit.ts"
import { headerBytes } from "./headers.ts"
import { type Answer, Publisher } from "./publisher.ts"

const scene = Effect.gen(function*() {
  const { api, urls } = yield* natsWithStreams(1)
  const connection = yield* connectNats({ servers: urls, name: "test" })
  const publisher = yield* Effect.acquireRelease(Effect.sync(() => new Publisher(connection)), (opened) => Effect.sync(() => opened.close()))
  return { api, publisher, group: new GroupCommit(publisher) }
})

/** Sends so many at once, each on its own story, and waits for all answers. */
const sendAll = (group: GroupCommit, count: number, subjectOf: (number: number) => string | undefined = () => undefined): Effect.Effect<ReadonlyArray<Answer>> =>
  Effect.forEach(Array.from({ length: count }, (_, number) => number), (number) =>
    Effect.callback<Answer>((resume) => {
      const commit = commitOn(`gathered-${number}`, number)
      const message = encodeCommit(commit, { last: "subject", sequence: 0 }, 1)
      group.send(subjectOf(number) ?? subjectText(commit.subject), headerBytes(message, "Nats-Expected-Last-Subject-Sequence: 0\r\n"), message.body, (answer) => resume(Effect.succeed(answer)))
    }), { concurrency: "unbounded" })

const placesOf = (answers: ReadonlyArray<Answer>): ReadonlyArray<number> => answers.flatMap((answer) => (answer._tag === "Stored" ? [answer.sequence] : []))

describe("appends that gather", () => {
  it.live("few go alone", () => Effect.scoped(Effect.gen(function*() {
    const { group } = yield* scene
    assert.lengthOf(new Set(placesOf(yield* sendAll(group, 64))), 64)
    assert.strictEqual(group.groups, 0)
  })))

  it.live("many go together: a handful of batches for a thousand, each with a place of its own", () => Effect.scoped(Effect.gen(function*() {
    const { group } = yield* scene
    const places = placesOf(yield* sendAll(group, 1_000))
    assert.sameMembers([...places], Array.from({ length: 1_000 }, (_, number) => number + 1))
    assert.isAbove(group.groups, 0)
    assert.isAtMost(group.groups, 12)
  })))

  it.live("a batch that the server refuses for one of them is sent again one by one: the others are stored once", () => Effect.scoped(Effect.gen(function*() {
    const { group } = yield* scene
    // Two on one story: the second expects that there is none yet.
    const answers = yield* sendAll(group, 300, (number) => (number === 200 || number === 250 ? subjectText(commitOn("gathered-one", 0).subject) : undefined))
    assert.deepStrictEqual(answers.flatMap(({ _tag }, number) => (_tag === "Stored" ? [] : [[number, _tag]])), [[250, "Behind"]])
    assert.sameMembers([...placesOf(answers)], Array.from({ length: 299 }, (_, number) => number + 1))
  })))
})
