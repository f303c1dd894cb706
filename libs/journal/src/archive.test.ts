import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { Archive, type ArchivedMessage, beforeHorizon, merkleRoot } from "./archive.ts"
import { folder } from "./testing/nats-under-test.ts"
import { commitOn } from "./testing.ts"

const run = (from: number, to: number): ReadonlyArray<ArchivedMessage> =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    sequence: from + index,
    subject: "mill.job.tests.job_1",
    storedAtMs: 1_700_000_000_000 + index,
    headers: `NATS/1.0\r\nMill-Id: ${from + index}\r\n\r\n`,
    body: new Uint8Array(Buffer.from(`body ${from + index}`))
  }))

const inFolder = <A, E>(test: (path: string) => Effect.Effect<A, E, Archive>) =>
  Effect.scoped(Effect.flatMap(folder, (path) => Effect.provide(test(path), Archive.layerFolder(path))))

describe("an archive", () => {
  it.effect("gives back what was kept, run behind run, and keeping it again changes nothing", () =>
    inFolder(() => Effect.gen(function*() {
      const archive = yield* Archive
      const first = yield* archive.keep("GATEWAY", run(1, 5))
      yield* archive.keep("GATEWAY", run(6, 9))
      assert.deepStrictEqual(yield* archive.keep("GATEWAY", run(1, 5)), first)
      const segments = yield* archive.segments("GATEWAY")
      assert.deepStrictEqual(segments.map(({ from, to }) => [from, to]), [[1, 5], [6, 9]])
      const found = yield* Effect.forEach(segments, archive.read)
      assert.deepStrictEqual(found.flat().map(({ body, ...rest }) => ({ ...rest, body: Buffer.from(body).toString() })), [...run(1, 5), ...run(6, 9)].map(({ body, ...rest }) => ({ ...rest, body: Buffer.from(body).toString() })))
      assert.isEmpty(yield* archive.segments("SCHEDULER"))
    })))

  it.effect("takes no run that leaves a gap behind it", () =>
    inFolder(() => Effect.gen(function*() {
      const archive = yield* Archive
      yield* archive.keep("GATEWAY", run(1, 5))
      const error = yield* Effect.flip(archive.keep("GATEWAY", run(7, 9)))
      assert.include(error.message, "the archive goes on at 6")
    })))

  it.effect("refuses a segment in which one byte has changed", () =>
    inFolder((path) => Effect.gen(function*() {
      const archive = yield* Archive
      const segment = yield* archive.keep("GATEWAY", run(1, 5))
      const file = join(path, readdirSync(path).find((name) => name.endsWith(".segment")) ?? "")
      const bytes = readFileSync(file)
      bytes[40] = (bytes[40] ?? 0) ^ 1
      writeFileSync(file, bytes)
      assert.include((yield* Effect.flip(archive.read(segment))).message, "digest")
    })))

  it("a Merkle root is RFC 6962's: of nothing, of one leaf, and of an odd number", () => {
    const hash = (...parts: ReadonlyArray<Uint8Array>) => createHash("sha256").update(Buffer.concat(parts)).digest()
    const [a, b, c] = ["a", "b", "c"].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer]
    const leaf = (bytes: Buffer) => hash(Buffer.of(0), bytes)
    const node = (left: Buffer, right: Buffer) => hash(Buffer.of(1), left, right)
    assert.strictEqual(merkleRoot([]).toString("hex"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert.deepStrictEqual(merkleRoot([a]), leaf(a))
    assert.deepStrictEqual(merkleRoot([a, b, c]), node(node(leaf(a), leaf(b)), leaf(c)))
  })

  it("an id from before the horizon is found out by the time it carries", () => {
    const commit = commitOn("old")
    assert.isUndefined(beforeHorizon(commit, 1_700_000_000_000))
    assert.strictEqual(beforeHorizon(commit, 1_700_000_000_001), commit.facts[0].id)
  })
})
