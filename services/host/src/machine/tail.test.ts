import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Ref, Stream } from "effect"
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tail } from "./tail.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-tail-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Follows a file, and shows what was read so far. */
const following = Effect.fnUntraced(function*(path: string, from = 0) {
  const ended = yield* Deferred.make<void>()
  const seen = yield* Ref.make("")
  const fiber = yield* Effect.forkChild(Stream.runForEach(tail({ path, from, ended: Deferred.await(ended), now: false }), (bytes) =>
    Ref.update(seen, (text) => text + Buffer.from(bytes).toString("latin1"))))
  const sees = (text: string) => Effect.andThen(Effect.sleep("5 millis"), Ref.get(seen)).pipe(Effect.repeat({ until: (now) => now === text }), Effect.timeout("10 seconds"))
  return { sees, seen: Ref.get(seen), end: Deferred.succeed(ended, undefined), whole: Effect.andThen(Fiber.join(fiber), Ref.get(seen)) }
})

describe("a file that grows", () => {
  it.live("is read as it grows, from an offset, to what was written last before the end", () => Effect.gen(function*() {
    const path = join(yield* folder, "stdout")
    writeFileSync(path, "0123")
    const follower = yield* following(path, 2)
    yield* follower.sees("23")
    appendFileSync(path, "45")
    yield* follower.sees("2345")
    appendFileSync(path, "67")
    yield* follower.end
    assert.strictEqual(yield* follower.whole, "234567")
  }))

  it.live("may come later, or never", () => Effect.gen(function*() {
    const path = join(yield* folder, "stdout")
    const follower = yield* following(path)
    writeFileSync(path, "late")
    yield* follower.sees("late")
    yield* follower.end
    assert.strictEqual(yield* follower.whole, "late")
    const never = yield* following(`${path}-never`)
    yield* never.end
    assert.strictEqual(yield* never.whole, "")
  }))

  it.live("is read to its end when it is removed meanwhile", () => Effect.gen(function*() {
    const path = join(yield* folder, "stdout")
    writeFileSync(path, "a")
    const follower = yield* following(path)
    yield* follower.sees("a")
    appendFileSync(path, "b")
    rmSync(path)
    yield* follower.end
    assert.strictEqual(yield* follower.whole, "ab")
  }))

  it.live("is told as it is now, when nobody waits", () => Effect.gen(function*() {
    const path = join(yield* folder, "stdout")
    writeFileSync(path, "x".repeat(200_000))
    const bytes = yield* Stream.mkUint8Array(tail({ path, from: 1, ended: Effect.never, now: true }))
    assert.strictEqual(bytes.length, 199_999)
  }))
})
