import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { checksOf } from "./checks.ts"
import type { Refusal, Told } from "./provider.ts"

const tooOften = (untilMs: number): Refusal => ({ _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "it answered 429", untilMs })

it.effect("asks again whoever was asked too often, when its time has come, and tells of it only where that does not end", () => Effect.gen(function*() {
  const answers: Array<Told<true> | Refusal> = [tooOften(1_000), tooOften(3_000), { _tag: "Told", value: true }]
  const askedAtMs: Array<number> = []
  const noted = <A>(answer: () => A) => Effect.map(Clock.currentTimeMillis, (atMs) => {
    askedAtMs.push(atMs)
    return answer()
  })
  const first = yield* Effect.forkChild(checksOf([["list", noted(() => answers.shift()!)]]))
  yield* TestClock.adjust(3_000)
  assert.deepStrictEqual([yield* Fiber.join(first), askedAtMs], [[{ permission: "list", allowed: true, detail: "allowed" }], [0, 1_000, 3_000]])
  const second = yield* Effect.forkChild(checksOf([["list", noted(() => tooOften(1_000_000))]]))
  yield* TestClock.adjust(100_000)
  assert.deepStrictEqual([yield* Fiber.join(second), askedAtMs.length], [[{ permission: "list", allowed: false, detail: "rate_limited: it answered 429" }], 7])
}))
