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

/** What is billed besides a machine's time: none of it stands in a quote. */
export type Kind = "disk" | "traffic" | "tax" | "credit" | "other"

/** One line of a provider's bill. */
export interface Theirs {
  /** The machine, or whatever else it is for. */
  readonly machine: string
  readonly fromMs: number
  readonly untilMs: number
  readonly amountPico: bigint
  /** For how long, where the provider says that and its moments are coarse. */
  readonly usedMs?: number
  /** What it is for, if not for the machine's time. */
  readonly of?: Kind
}

/**
 * Why two amounts differ: they count from another moment, until another moment, for another time, at another price or by other rounding;
 * one side knows no such machine; or it is for something else than a machine's time.
 */
export type Cause = "began" | "ended" | "time" | "price" | "rounding" | "unknown_to_us" | "not_billed" | Kind

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
  const known = Map.groupBy(ours, ({ machine }) => machine)
  const billed = new Map<Ours, Billed>()
  const strange = new Map<string, Billed>()
  for (const line of theirs) {
    const several = known.get(line.machine)
    if (several === undefined) strange.set(line.machine, withLine(strange.get(line.machine), line))
    else {
      const own = meantBy(several, line)
      billed.set(own, withLine(billed.get(own), line))
    }
  }
  return [
    ...ours.map((one) => compare(one, billed.get(one))),
    ...[...strange].map(([machine, { besides, time }]): Compared => {
      const timePico = time?.amountPico ?? 0n
      const unknown: Difference = { cause: "unknown_to_us", pico: timePico, detail: "no lease of ours names this machine" }
      return { machine, leaseId: undefined, oursPico: 0n, theirsPico: timePico + sumOf(besides), differences: [unknown, ...besidesOf(besides)].filter(({ pico }) => pico !== 0n) }
    })
  ]
}

/** Moments of two clocks may be told apart by so much. */
const apartMs = 5_000

/** A provider may give a machine the number of one that has ended: a line is about the one that had begun last when it begins. */
const meantBy = (several: ReadonlyArray<Ours>, { fromMs }: Theirs): Ours => {
  const inOrder = several.length === 1 ? several : [...several].sort((a, b) => a.sinceMs - b.sinceMs)
  return inOrder.findLast(({ sinceMs }) => sinceMs <= fromMs + apartMs) ?? inOrder[0]!
}

/** What a bill says of one machine: its time as a whole, and what was charged besides. */
interface Billed {
  readonly time: Omit<Theirs, "machine" | "of"> | undefined
  readonly besides: ReadonlyMap<Kind, bigint>
}

const withLine = (before: Billed = { time: undefined, besides: new Map() }, { amountPico, fromMs, of, untilMs, usedMs }: Theirs): Billed => {
  const { besides, time } = before
  if (of !== undefined) return { time, besides: new Map([...besides, [of, (besides.get(of) ?? 0n) + amountPico]]) }
  const used = usedMs === undefined && time?.usedMs === undefined ? {} : { usedMs: (usedMs ?? untilMs - fromMs) + (time === undefined ? 0 : time.usedMs ?? time.untilMs - time.fromMs) }
  return {
    besides,
    time: time === undefined ? { amountPico, fromMs, untilMs, ...used }
      : { amountPico: time.amountPico + amountPico, fromMs: Math.min(time.fromMs, fromMs), untilMs: Math.max(time.untilMs, untilMs), ...used }
  }
}

const sumOf = (besides: ReadonlyMap<Kind, bigint>): bigint => [...besides.values()].reduce((sum, pico) => sum + pico, 0n)

const wordsOf: Readonly<Record<Kind, string>> = {
  disk: "its disks, which stand in no quote", traffic: "its traffic and addresses, which stand in no quote", tax: "taxes", credit: "credits and refunds", other: "something else than a machine's time"
}

const besidesOf = (besides: ReadonlyMap<Kind, bigint>): ReadonlyArray<Difference> => [...besides].map(([cause, pico]) => ({ cause, pico, detail: wordsOf[cause] }))

const compare = (one: Ours, billed: Billed | undefined): Compared => {
  const { billing, leaseId, machine, pricePicoPerSecond, sinceMs, untilMs } = one
  const oursPico = costPico(pricePicoPerSecond, billing, sinceMs, untilMs)
  const besides = besidesOf(billed?.besides ?? new Map())
  const besidesPico = sumOf(billed?.besides ?? new Map())
  const whole = (theirsPico: bigint, differences: ReadonlyArray<Difference>): Compared =>
    ({ machine, leaseId, oursPico, theirsPico: theirsPico + besidesPico, differences: [...differences, ...besides].filter(({ pico }) => pico !== 0n) })
  const theirs = billed?.time
  if (theirs === undefined || theirs.amountPico === 0n) return whole(0n, [{ cause: "not_billed", pico: -oursPico, detail: "the provider bills nothing for it" }])
  const forTime = (ms: number): bigint => costPico(pricePicoPerSecond, billing, 0, ms)
  const begun = theirs.usedMs === undefined ? costPico(pricePicoPerSecond, billing, theirs.fromMs, Math.max(theirs.fromMs, untilMs)) : oursPico
  const ended = theirs.usedMs === undefined ? costPico(pricePicoPerSecond, billing, theirs.fromMs, theirs.untilMs) : forTime(theirs.usedMs)
  const rest = theirs.amountPico - ended
  return whole(theirs.amountPico, [
    { cause: "began", pico: begun - oursPico, detail: `they count from ${apart(theirs.fromMs - sinceMs)} than we do` },
    theirs.usedMs === undefined
      ? { cause: "ended", pico: ended - begun, detail: `they count until ${apart(theirs.untilMs - untilMs)} than we do` }
      : { cause: "time", pico: ended - begun, detail: `they count ${(theirs.usedMs / 1000).toFixed(1)} s, and we ${((untilMs - sinceMs) / 1000).toFixed(1)} s` },
    rest < roundingPico && rest > -roundingPico
      ? { cause: "rounding", pico: rest, detail: "parts of a cent" }
      : { cause: "price", pico: rest, detail: `for the same time at the quoted price it would be ${ended} pico-dollars` }
  ])
}

const apart = (ms: number): string => `${(Math.abs(ms) / 1000).toFixed(1)} s ${ms < 0 ? "sooner" : "later"}`
