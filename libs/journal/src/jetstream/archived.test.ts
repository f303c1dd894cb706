import { assert, it } from "@effect/vitest"
import { subjectText } from "@millrace/schemas"
import { Effect } from "effect"
import { Archive, type ArchivedMessage } from "../archive.ts"
import { encodeCommit } from "../codec.ts"
import type { StoredCommit } from "../commit.ts"
import { apiOf, folder, natsWithStreams, quick } from "../testing/nats-under-test.ts"
import { commitOn } from "../testing.ts"
import { ask } from "./api.ts"
import { headerBytes } from "./headers.ts"
import { openJournal } from "./journal.ts"
import { streamConfig } from "./streams.ts"

const archivedCommit = (sequence: number): ArchivedMessage => {
  const commit = commitOn(`archived-${sequence}`)
  const message = encodeCommit(commit, { last: "subject", sequence: 0 }, 1)
  return { sequence, subject: subjectText(commit.subject), storedAtMs: 1, headers: Buffer.from(headerBytes(message, "")).toString(), body: message.body }
}

it.live("a reader that begins before its stream reads the archive first, and notices no border; without one it fails", () =>
  Effect.scoped(Effect.gen(function*() {
    const { urls } = yield* natsWithStreams(1)
    const api = yield* apiOf(urls)
    yield* ask(api, "STREAM.DELETE.GATEWAY")
    yield* ask(api, "STREAM.CREATE.GATEWAY", { ...streamConfig("GATEWAY"), first_seq: 8 })
    const nats = { servers: urls, name: "test" }
    const bare = yield* openJournal({ nats, ...quick })
    for (let number = 8; number <= 10; number += 1) yield* bare.append(commitOn(`hot-${number}`), { last: "subject", sequence: 0 })
    assert.include((yield* Effect.flip(bare.read("GATEWAY", { after: 2 }))).message, "the stream begins at 8")
    yield* bare.read("GATEWAY", { after: 7 })

    yield* Effect.gen(function*() {
      const archive = yield* Archive
      yield* archive.keep("GATEWAY", [1, 2, 3, 4].map(archivedCommit))
      yield* archive.keep("GATEWAY", [5, 6, 7].map(archivedCommit))
      const journal = yield* openJournal({ nats, ...quick, reader: { ...quick.reader, archive } })
      const reader = yield* journal.read("GATEWAY", { after: 2, batchMax: 3 })
      const found: Array<StoredCommit> = []
      while (found.length < 8) found.push(...(yield* reader.take))
      assert.deepStrictEqual(found.map(({ place }) => place.sequence), [3, 4, 5, 6, 7, 8, 9, 10])
      assert.strictEqual(found[0]?.facts[0]?.id, commitOn("archived-3").facts[0].id)
    }).pipe(Effect.provide(Archive.layerFolder(yield* folder)))
  })))
