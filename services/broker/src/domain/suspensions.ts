import type { Round, Said } from "@millrace/journal"
import type { FactId, MillFact, ProviderName } from "@millrace/schemas"
import type { State } from "./state.ts"

/** How long a provider rests that says our key is not good. */
const unauthorisedMs = 600_000
/** What may be asked of a provider that has come back, in thousandths, and how long each step is tried. */
const steps: ReadonlyArray<number> = [100, 250, 500, 1000]
export const stepMs = 60_000
/** So many asks may be under way at a provider that has come back in full. */
const asksMax = 40

/** No more is asked of a provider than it takes within so long: what waits in line there longer is sooner had elsewhere. */
const lineMsMax = 60_000

/** How many machines may be asked of a provider at once: as many as it takes in time, and fewer where it has been away. */
export const asksAtOnce = (state: State, provider: ProviderName): number => {
  const everyMs = state.markets.get(provider)?.asksEveryMs ?? 0
  const inLine = everyMs === 0 ? Number.MAX_SAFE_INTEGER : Math.max(1, Math.trunc(lineMsMax / everyMs))
  const share = state.shares.get(provider)
  return share === undefined ? inLine : Math.min(inLine, Math.max(1, Math.trunc((asksMax * share.permille) / 1000)))
}

/** Who is asked no more, who is asked again, and who more than before. */
export const suspensions = (state: State, { atMs }: Round, isFrozen: (provider: ProviderName) => boolean): ReadonlyArray<Said> => {
  const fact = (provider: ProviderName, event: MillFact, causedBy: FactId): ReadonlyArray<Said> =>
    isFrozen(provider) ? [] : [{ subject: { kind: "market", scope: provider }, facts: [{ event, partOf: causedBy, causedBy }] }]
  const resumed = (provider: ProviderName, sharePermilleMax: number, causedBy: FactId) => fact(provider, { _tag: "ProviderResumed", provider, sharePermilleMax }, causedBy)
  return [
    ...byName(state.unauthorised).flatMap(([provider, causedBy]) =>
      state.suspended.has(provider) ? [] : fact(provider, { _tag: "ProviderSuspended", provider, reason: "unauthorised", detail: "it does not know our key", untilMs: atMs + unauthorisedMs }, causedBy)),
    ...byName(state.suspended).flatMap(([provider, { factId, reason, untilMs }]) =>
      untilMs === undefined || untilMs > atMs ? [] : resumed(provider, reason === "outage" || reason === "lies" ? steps[0]! : 1000, factId)),
    ...byName(state.shares).flatMap(([provider, { factId, permille, sinceMs }]) =>
      atMs < sinceMs + stepMs ? [] : resumed(provider, steps.find((step) => step > permille) ?? 1000, factId))
  ]
}

const byName = <V>(entries: ReadonlyMap<ProviderName, V>): ReadonlyArray<readonly [ProviderName, V]> => [...entries].sort(([a], [b]) => (a < b ? -1 : 1))
