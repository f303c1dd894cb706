import { assert, describe, it } from "@effect/vitest"
import { type Follower, type Known, nextBytes, type Try } from "./next-bytes.ts"

const running: Try = { attempt: 1, started: true, over: false, kept: undefined }
const kept = { sizeBytes: 4 }
const known = (tries: ReadonlyArray<Try>, more: Partial<Known> = {}): Known => ({ tries, ended: false, complete: false, ...more })
const reading = (attempt: number | undefined, more: Partial<Follower> = {}): Follower => ({ attempt, done: false, liveDone: false, ...more })

describe("where the next bytes come from", () => {
  it("a follower begins with the newest attempt, and waits for one", () => {
    assert.deepStrictEqual(nextBytes(known([]), reading(undefined)), { do: "wait" })
    assert.deepStrictEqual(nextBytes(known([running, { ...running, attempt: 2 }]), reading(undefined)), { do: "turn", attempt: 2 })
  })

  it("a job that ended without an attempt ends its log", () =>
    assert.deepStrictEqual(nextBytes(known([], { ended: true }), reading(undefined)), { do: "end" }))

  it("from the host while it runs, from what is kept once that is known", () => {
    assert.deepStrictEqual(nextBytes(known([{ ...running, started: false }]), reading(1)), { do: "wait" })
    assert.deepStrictEqual(nextBytes(known([running]), reading(1)), { do: "live", attempt: 1 })
    assert.deepStrictEqual(nextBytes(known([{ ...running, kept }]), reading(1)), { do: "kept", attempt: 1 })
  })

  it("when the host has told all, its end is waited for and the host is not asked again", () =>
    assert.deepStrictEqual(nextBytes(known([running]), reading(1, { liveDone: true })), { do: "wait" }))

  it("an attempt that ended silently, or with its host, is done", () =>
    assert.deepStrictEqual(nextBytes(known([{ ...running, over: true }]), reading(1)), { do: "done" }))

  it("an attempt that seems passed by is left only when all that hosts have said is known", () => {
    const passed = known([running, { ...running, attempt: 2 }])
    assert.deepStrictEqual(nextBytes(passed, reading(1)), { do: "complete" })
    assert.deepStrictEqual(nextBytes({ ...passed, complete: true }, reading(1)), { do: "done" })
    assert.deepStrictEqual(nextBytes(known([running], { ended: true }), reading(1)), { do: "complete" })
  })

  it("behind an attempt that is done come the next one, the end, or a wait", () => {
    const over = { ...running, over: true, kept }
    assert.deepStrictEqual(nextBytes(known([over, { ...running, attempt: 3 }]), reading(1, { done: true })), { do: "turn", attempt: 3 })
    assert.deepStrictEqual(nextBytes(known([over], { ended: true }), reading(1, { done: true })), { do: "end" })
    assert.deepStrictEqual(nextBytes(known([over]), reading(1, { done: true })), { do: "wait" })
  })
})
