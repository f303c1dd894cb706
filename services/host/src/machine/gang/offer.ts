import { Keyring } from "@millrace/service"
import { Effect, Exit, Scope } from "effect"
import { CannotStart } from "../runtime.ts"
import { groundFolder, type Proven, type Unproven } from "../sandbox-probe.ts"
import { type GangNetwork, keyPurpose } from "./network.ts"
import { keepSwitch, type Switch } from "./switch.ts"

/** What this host can give to gangs: a network, with `at` also to those that other hosts have a part of. */
export type GangOffer = { readonly network: GangNetwork; readonly at: string | undefined } | { readonly why: string }

/**
 * Makes ready what members of gangs need here, for as long as the scope lives, while `found` finds out whether they can
 * have it. A machine where they cannot says why, and goes without.
 */
export const gangNetwork = Effect.fnUntraced(function*({ address, bytesPerSecondMax, folder, found }: {
  /** The host's own folder. */
  readonly folder: string
  readonly found: Effect.Effect<Proven | Unproven>
  readonly address: string | undefined
  readonly bytesPerSecondMax: number
}): Effect.fn.Return<{ readonly found: Proven | Unproven; readonly gangs: GangOffer }, never, Keyring | Scope.Scope> {
  const own = yield* Scope.fork(yield* Effect.scope)
  // A socket's path may be no longer than about a hundred bytes: it stands beside the ground, whose path is short.
  const [kept, proven] = yield* Effect.all([Effect.result(Scope.provide(keepSwitch(`${groundFolder(folder)}-switch`, address), own)), found], { concurrency: 2 })
  const cannot = "why" in proven ? "there is no sandbox here" : "why" in proven.network ? proven.network.why : kept._tag === "Failure" ? kept.failure.detail : undefined
  if (cannot !== undefined || kept._tag === "Failure") {
    if (kept._tag === "Failure") yield* Effect.logError(kept.failure.message)
    yield* Scope.close(own, Exit.void)
    return { found: proven, gangs: { why: cannot ?? "its switch does not start" } }
  }
  return { found: proven, gangs: yield* offered(kept.success, address, bytesPerSecondMax) }
})

const offered = Effect.fnUntraced(function*(kept: Switch, address: string | undefined, bytesPerSecondMax: number): Effect.fn.Return<GangOffer, never, Keyring> {
  const keyring = yield* Keyring
  const { at, why } = kept
  if (why !== undefined) yield* Effect.logError(`Gangs of several hosts get no network here: ${address} cannot be listened at (${why}). Name an address of this machine in MILLRACE_GANG_ADDRESS`)
  return {
    at,
    network: {
      switch: kept,
      bytesPerSecondMax,
      keyOf: ({ gang, spec }) => {
        const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })
        if (gang?.network === undefined || spec.program === undefined) return Effect.fail(cannot("its gang's network has no name, or it has no program whose key it could follow from"))
        return Effect.mapError(keyring.derive(spec.program.key, keyPurpose(gang.network.id)), (failure) => cannot(failure.message))
      }
    }
  }
})
