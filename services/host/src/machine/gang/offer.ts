import { Keyring } from "@millrace/service"
import { Effect, type Scope } from "effect"
import { CannotStart } from "../runtime.ts"
import type { Proven, Unproven } from "../sandbox-probe.ts"
import { type GangNetwork, keyPurpose } from "./network.ts"
import { keepSwitch } from "./switch.ts"

/** What this host can give to gangs: a network, with `at` also to those that other hosts have a part of. */
export type GangOffer = { readonly network: GangNetwork; readonly at: string | undefined } | { readonly why: string }

/** Makes ready what members of gangs need here, for as long as the scope lives. A machine that cannot says why, and goes without. */
export const gangNetwork = Effect.fnUntraced(function*({ address, bytesPerSecondMax, found }: {
  readonly found: Proven | Unproven
  readonly address: string | undefined
  readonly bytesPerSecondMax: number
}): Effect.fn.Return<GangOffer, never, Keyring | Scope.Scope> {
  if ("why" in found) return { why: "there is no sandbox here" }
  if ("why" in found.network) return { why: found.network.why }
  const keyring = yield* Keyring
  // A socket's path may be no longer than about a hundred bytes: it stands beside the ground, whose path is short.
  const kept = yield* Effect.result(keepSwitch(`${found.ground.folder}-switch`, address))
  if (kept._tag === "Failure") {
    yield* Effect.logError(kept.failure.message)
    return { why: kept.failure.detail }
  }
  const { at, why } = kept.success
  if (why !== undefined) yield* Effect.logError(`Gangs of several hosts get no network here: ${address} cannot be listened at (${why}). Name an address of this machine in MILLRACE_GANG_ADDRESS`)
  return {
    at,
    network: {
      switch: kept.success,
      bytesPerSecondMax,
      keyOf: ({ gang, spec }) => {
        const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })
        if (gang?.network === undefined || spec.program === undefined) return Effect.fail(cannot("its gang's network has no name, or it has no program whose key it could follow from"))
        return Effect.mapError(keyring.derive(spec.program.key, keyPurpose(gang.network.id)), (failure) => cannot(failure.message))
      }
    }
  }
})
