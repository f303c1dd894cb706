import { Clock, Effect } from "effect"
import type { Check, ProviderUnclear, Refusal, Told } from "./provider.ts"

type Answer = Told<unknown> | Refusal

/** A provider that is asked too often has said nothing of what we may: it is asked again so often, and waited for so long at most, in ms. */
const triesMax = 4
const waitMsMax = 10_000

/** Tries calls that change nothing, one after the other, and tells of each by its permission whether it is allowed. What a call tells in words is told. */
export const checksOf = (
  tries: ReadonlyArray<readonly [permission: string, call: Effect.Effect<Answer, ProviderUnclear>]>
): Effect.Effect<ReadonlyArray<Check>> =>
  Effect.forEach(tries, ([permission, call]) =>
    Effect.match(patiently(call), {
      onFailure: (error): Check => ({ permission, allowed: false, detail: error.message }),
      onSuccess: (answer): Check =>
        answer._tag === "Told" ? { permission, allowed: true, detail: typeof answer.value === "string" ? answer.value : "allowed" } : { permission, allowed: false, detail: `${answer.reason}: ${answer.detail}` }
    }))

const patiently = Effect.fnUntraced(function*(call: Effect.Effect<Answer, ProviderUnclear>) {
  for (let tried = 1; ; tried += 1) {
    const answer = yield* call
    if (answer._tag === "Told" || answer.reason !== "rate_limited" || tried === triesMax) return answer
    yield* Effect.sleep(Math.min(waitMsMax, Math.max(0, (answer.untilMs ?? 0) - (yield* Clock.currentTimeMillis))))
  }
})
