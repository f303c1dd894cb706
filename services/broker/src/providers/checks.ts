import { Effect } from "effect"
import type { Check, ProviderUnclear, Refusal, Told } from "./provider.ts"

/** Tries calls that change nothing, one after the other, and tells of each by its permission whether it is allowed. What a call tells in words is told. */
export const checksOf = (
  tries: ReadonlyArray<readonly [permission: string, call: Effect.Effect<Told<unknown> | Refusal, ProviderUnclear>]>
): Effect.Effect<ReadonlyArray<Check>> =>
  Effect.forEach(tries, ([permission, call]) =>
    Effect.match(call, {
      onFailure: (error): Check => ({ permission, allowed: false, detail: error.message }),
      onSuccess: (answer): Check =>
        answer._tag === "Told" ? { permission, allowed: true, detail: typeof answer.value === "string" ? answer.value : "allowed" } : { permission, allowed: false, detail: `${answer.reason}: ${answer.detail}` }
    }))
