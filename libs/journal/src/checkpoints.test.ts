import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Packr } from "msgpackr"
import { type Checkpoint, Checkpoints } from "./checkpoints.ts"

const state = { jobs: [{ id: "a", held: undefined, attempts: [["x", { word: undefined, placed: 3 }]] }], term: 2 }
const checkpoint: Checkpoint = { fold: "scheduler", codeVersion: "1", epoch: 1, saw: { GATEWAY: 7 }, state }

/** Every place of checkpoints keeps the same promise. */
const keepsWhatItWasGiven = Effect.gen(function*() {
  const checkpoints = yield* Checkpoints
  assert.isUndefined(yield* checkpoints.load("scheduler"))
  yield* checkpoints.save(checkpoint)
  const found = yield* checkpoints.load("scheduler")
  assert.deepStrictEqual(found, checkpoint)
  yield* checkpoints.save({ ...checkpoint, saw: { GATEWAY: 9 } })
  assert.deepStrictEqual((yield* checkpoints.load("scheduler"))?.saw, { GATEWAY: 9 })
  assert.isUndefined(yield* checkpoints.load("another"))
})

const inFolder = <A, E>(body: (folder: string) => Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-checkpoints-"))),
    body,
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

describe("checkpoints", () => {
  it.effect("what was saved in memory is loaded as it was, hash and all", () =>
    keepsWhatItWasGiven.pipe(Effect.provide(Checkpoints.layerMemory)))
  it.effect("what was saved in a folder is loaded as it was, by another process too", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        yield* keepsWhatItWasGiven.pipe(Effect.provide(Checkpoints.layerFolder(folder)))
        const again = yield* Checkpoints.use((checkpoints) => checkpoints.load("scheduler")).pipe(Effect.provide(Checkpoints.layerFolder(folder)))
        assert.strictEqual(again?.codeVersion, "1")
      })))
  it.effect("one by a program that knew other facts counts as none: it has passed over what is known here", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        const { load, save } = yield* Checkpoints
        yield* save(checkpoint)
        const path = join(folder, "scheduler.checkpoint")
        const text = readFileSync(path, "latin1")
        const stamp = /[0-9a-f]{64}/u.exec(text)![0]
        assert.isDefined(yield* load("scheduler"))
        writeFileSync(path, text.replace(stamp, "0".repeat(64)), "latin1")
        assert.isUndefined(yield* load("scheduler"))
        writeFileSync(path, new Packr({ useRecords: false }).pack(checkpoint))
        assert.isUndefined(yield* load("scheduler"))
      }).pipe(Effect.provide(Checkpoints.layerFolder(folder)))))
  it.effect("a file that cannot be read counts as none", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        writeFileSync(join(folder, "scheduler.checkpoint"), Buffer.from([0xc1, 0x00]))
        assert.isUndefined(yield* Checkpoints.use((checkpoints) => checkpoints.load("scheduler")).pipe(Effect.provide(Checkpoints.layerFolder(folder))))
      })))
})

describe("a long checkpoint", () => {
  const long = (count: number) => Array.from({ length: count }, (_, number) => ({ id: `job-${number}`, [`of-${number % 3_000}`]: number, nothing: undefined }))
  const bits = (count: number): Iterable<unknown> => ({ [Symbol.iterator]: () => long(count).values() })

  it.effect("lists come back as arrays, and what was made bit by bit is read bit by bit, as often as somebody asks", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        const { load, save } = yield* Checkpoints
        yield* save({ ...checkpoint, state: { term: 2, list: long(2_500), none: [], bits: bits(5_001), no: bits(0), text: "a text is no list" } })
        const { bits: read, no, ...state } = (yield* load("scheduler"))?.state as { readonly bits: Iterable<unknown>; readonly no: Iterable<unknown> }
        assert.deepStrictEqual(state, { term: 2, list: long(2_500), none: [], text: "a text is no list" } as never)
        assert.isFalse(Array.isArray(read))
        for (let time = 0; time < 2; time += 1) assert.deepStrictEqual([...read], long(5_001))
        assert.isEmpty([...no])
        yield* save({ ...checkpoint, state: long(1_001) })
        assert.deepStrictEqual((yield* load("scheduler"))?.state, long(1_001))
      }).pipe(Effect.provide(Checkpoints.layerFolder(folder)))))

  it.effect("a file of which a byte is another, or the end is missing, counts as none", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        const { load, save } = yield* Checkpoints
        yield* save({ ...checkpoint, state: { bits: bits(3_000) } })
        const path = join(folder, "scheduler.checkpoint")
        const bytes = readFileSync(path)
        assert.isDefined(yield* load("scheduler"))
        const other = Buffer.from(bytes)
        other[bytes.indexOf("job-1234") + 5]! ^= 1
        writeFileSync(path, other)
        assert.isUndefined(yield* load("scheduler"))
        for (const missing of [1, 32, 40, 5_000]) {
          writeFileSync(path, bytes.subarray(0, bytes.length - missing))
          assert.isUndefined(yield* load("scheduler"))
        }
      }).pipe(Effect.provide(Checkpoints.layerFolder(folder)))))

  it.effect("one that is interrupted leaves the one before it, and no draft; a draft that its writer left goes after an hour", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        const { load, newest, save } = yield* Checkpoints
        yield* save(checkpoint)
        let items = 0
        const endless = { *[Symbol.iterator]() { while (true) yield (items += 1) } }
        const writing = yield* Effect.forkChild(save({ ...checkpoint, codeVersion: "2", state: { endless } }))
        while (items < 10_000) yield* Effect.promise(() => new Promise(setImmediate))
        yield* Fiber.interrupt(writing)
        while (readdirSync(folder).length > 1) yield* Effect.promise(() => new Promise(setImmediate))
        const stopped = items
        for (let turn = 0; turn < 100; turn += 1) yield* Effect.promise(() => new Promise(setImmediate))
        assert.strictEqual(items, stopped)
        assert.deepStrictEqual(yield* load("scheduler"), checkpoint)
        assert.deepStrictEqual(yield* newest("scheduler"), { codeVersion: "1", epoch: 1, saw: { GATEWAY: 7 }, sameFacts: true })
        assert.isUndefined(yield* newest("another"))
        const left = join(folder, "scheduler.checkpoint.one.next")
        writeFileSync(left, "")
        utimesSync(left, 0, 0)
        yield* TestClock.adjust("2 hours")
        yield* save(checkpoint)
        assert.deepStrictEqual(readdirSync(folder), ["scheduler.checkpoint"])
      }).pipe(Effect.provide(Checkpoints.layerFolder(folder)))))

  it.effect("while one is written this process does other things", () =>
    inFolder((folder) =>
      Effect.gen(function*() {
        let turns = 0
        const other = setInterval(() => void (turns += 1), 0)
        yield* Checkpoints.use(({ save }) => save({ ...checkpoint, state: { bits: bits(50_000) } }))
        clearInterval(other)
        assert.isAtLeast(turns, 10)
      }).pipe(Effect.provide(Checkpoints.layerFolder(folder)))))
})
