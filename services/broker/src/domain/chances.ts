import type { Column, ProviderName } from "@millrace/schemas"

/** How often asking has led to a machine, and how soon, for one column, or for one column in one hour of the day. */
export interface Chance {
  readonly tries: number
  /** Thousandths of tries that led to a machine; the newest weigh most. */
  readonly permille: number
  /** From the intent until its host was there. 0: no machine has come yet. */
  readonly readyMs: number
  readonly lastAtMs: number
}

/** Before anything has been tried: better than what has failed, worse than what has worked. */
const untried: Chance = { tries: 0, permille: 800, readyMs: 0, lastAtMs: 0 }
/** The newest outcome is a quarter of what is believed. */
const weight = 4
/** So many tries in an hour of the day make that hour worth minding by itself. */
const hourTriesMin = 4
const keptMax = 4096
const hourMs = 3_600_000

export type Chances = Map<string, Chance>

const nameOf = (provider: ProviderName, { machineType, market, region }: Column): string => `${provider}/${region}/${machineType}/${market}`
const hourOf = (name: string, atMs: number): string => `${name}@${Math.floor(atMs / hourMs) % 24}`

const towards = (believed: number, seen: number): number => believed + Math.trunc((seen - believed) / weight)

const keep = (chances: Chances, name: string, next: (before: Chance) => Chance): void => {
  const before = chances.get(name)
  chances.set(name, next(before ?? untried))
  if (before !== undefined || chances.size <= keptMax) return
  // What has not been tried for the longest time is forgotten; of equals the one whose name comes first.
  const [oldest] = [...chances].reduce((least, one) => one[1].lastAtMs < least[1].lastAtMs || (one[1].lastAtMs === least[1].lastAtMs && one[0] < least[0]) ? one : least)
  chances.delete(oldest)
}

/** Asking has led to a machine, or has not. */
export const learnOutcome = (chances: Chances, provider: ProviderName, column: Column, worked: boolean, atMs: number): void => {
  const name = nameOf(provider, column)
  for (const one of [name, hourOf(name, atMs)]) {
    keep(chances, one, ({ permille, readyMs, tries }) => ({ tries: tries + 1, permille: towards(permille, worked ? 1000 : 0), readyMs, lastAtMs: atMs }))
  }
}

/** A machine's host was there so long after it was asked for. */
export const learnReady = (chances: Chances, provider: ProviderName, column: Column, tookMs: number, atMs: number): void => {
  const name = nameOf(provider, column)
  for (const one of [name, hourOf(name, atMs)]) {
    keep(chances, one, (before) => ({ ...before, readyMs: before.readyMs === 0 ? Math.max(1, tookMs) : towards(before.readyMs, tookMs), lastAtMs: atMs }))
  }
}

/** What to expect of asking for a column now: by this hour of the day where that has been tried enough, else by any hour. */
export const chanceOf = (chances: ReadonlyMap<string, Chance>, provider: ProviderName, column: Column, atMs: number): Chance => {
  const name = nameOf(provider, column)
  const always = chances.get(name) ?? untried
  const now = chances.get(hourOf(name, atMs))
  if (now === undefined || now.tries < hourTriesMin) return always
  return { tries: now.tries, permille: Math.trunc((always.permille + now.permille) / 2), readyMs: now.readyMs === 0 ? always.readyMs : now.readyMs, lastAtMs: now.lastAtMs }
}
