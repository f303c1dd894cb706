import { type Billing, costPico } from "./money.ts"

/** One machine as we have it: from when to when, at what price, and what we wrote down for it. */
export interface Ours {
  readonly leaseId: string
  readonly machine: string
  readonly sinceMs: number
  /** When its end was confirmed; the moment of asking, while it is open. */
  readonly untilMs: number
  readonly pricePicoPerSecond: bigint
  readonly billing: Billing
}

/** One machine as its provider bills it. */
export interface Theirs {
  readonly machine: string
  readonly fromMs: number
  readonly untilMs: number
  readonly amountPico: bigint
}

/** Why two amounts differ: they count from another moment, until another moment, at another price or by other rounding; or one side knows no such machine. */
export type Cause = "began" | "ended" | "price" | "rounding" | "unknown_to_us" | "not_billed"

export interface Difference {
  readonly cause: Cause
  /** What it adds to the bill over ours; below zero: what it takes off. */
  readonly pico: bigint
  readonly detail: string
}

export interface Compared {
  readonly machine: string
  readonly leaseId: string | undefined
  readonly oursPico: bigint
  readonly theirsPico: bigint
  /** Together exactly the bill less ours. */
  readonly differences: ReadonlyArray<Difference>
}

/** Less than this is how amounts were rounded: a hundredth of a cent. */
const roundingPico = 100_000_000n

/**
 * Holds what a provider bills against what we have written down, machine by machine, and explains every part of
 * every difference: of each machine the differences add up to exactly theirs less ours.
 */
export const reconcile = (ours: ReadonlyArray<Ours>, theirs: ReadonlyArray<Theirs>): ReadonlyArray<Compared> => {
  const billed = new Map<string, { readonly fromMs: number; readonly untilMs: number; readonly amountPico: bigint }>()
  for (const { amountPico, fromMs, machine, untilMs } of theirs) {
    const before = billed.get(machine)
    billed.set(machine, before === undefined ? { amountPico, fromMs, untilMs } : { amountPico: before.amountPico + amountPico, fromMs: Math.min(before.fromMs, fromMs), untilMs: Math.max(before.untilMs, untilMs) })
  }
  const known = new Set(ours.map(({ machine }) => machine))
  return [
    ...ours.map((one) => compare(one, billed.get(one.machine))),
    ...[...billed].filter(([machine]) => !known.has(machine)).map(([machine, { amountPico }]): Compared => ({
      machine, leaseId: undefined, oursPico: 0n, theirsPico: amountPico,
      differences: amountPico === 0n ? [] : [{ cause: "unknown_to_us", pico: amountPico, detail: "no lease of ours names this machine" }]
    }))
  ]
}

const compare = (one: Ours, theirs: Omit<Theirs, "machine"> | undefined): Compared => {
  const { billing, leaseId, machine, pricePicoPerSecond, sinceMs, untilMs } = one
  const oursPico = costPico(pricePicoPerSecond, billing, sinceMs, untilMs)
  if (theirs === undefined || theirs.amountPico === 0n) return { machine, leaseId, oursPico, theirsPico: 0n, differences: oursPico === 0n ? [] : [{ cause: "not_billed", pico: -oursPico, detail: "the provider bills nothing for it" }] }
  const begun = costPico(pricePicoPerSecond, billing, theirs.fromMs, Math.max(theirs.fromMs, untilMs))
  const ended = costPico(pricePicoPerSecond, billing, theirs.fromMs, theirs.untilMs)
  const rest = theirs.amountPico - ended
  const differences: ReadonlyArray<Difference> = [
    { cause: "began", pico: begun - oursPico, detail: `they count from ${apart(theirs.fromMs - sinceMs)} than we do` },
    { cause: "ended", pico: ended - begun, detail: `they count until ${apart(theirs.untilMs - untilMs)} than we do` },
    rest < roundingPico && rest > -roundingPico
      ? { cause: "rounding", pico: rest, detail: "parts of a cent" }
      : { cause: "price", pico: rest, detail: `for the same time at the quoted price it would be ${ended} pico-dollars` }
  ]
  return { machine, leaseId, oursPico, theirsPico: theirs.amountPico, differences: differences.filter(({ pico }) => pico !== 0n) }
}

const apart = (ms: number): string => `${(Math.abs(ms) / 1000).toFixed(1)} s ${ms < 0 ? "sooner" : "later"}`
