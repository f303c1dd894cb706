import { type Held, priceOf, type PriceBooks, rateChanges, ratesAt } from "@millrace/pricing"
import type { FactId, PhaseEntered, WorkspaceName } from "@millrace/schemas"

/** What an attempt's time was spent on. `lost` is the time on a host that fell silent for good. */
export type Phase = PhaseEntered["phase"] | "lost"

/** Something that a host said of an attempt, and when. Only times of one boot id can be compared with each other. */
export interface Mark {
  readonly what: PhaseEntered["phase"] | "started" | "exited" | "refused"
  readonly bootId?: string
  readonly hostMs?: number
  /** When the log stored it. */
  readonly storedAtMs: number
  readonly factId: FactId
}

/** What is known of an attempt's time: when it was placed, what its host said, and when its host was given up. */
export interface Lived {
  readonly placedAtMs: number
  readonly marks: ReadonlyArray<Mark>
  readonly lostAtMs?: number
}

/** Whole milliseconds in one phase, by the log's clock where they begin. Those that are `counted` cost money. */
export interface Interval {
  readonly phase: Phase
  readonly fromMs: number
  readonly ms: number
  readonly counted: boolean
}

/** An interval with its price: by which books, and how much. Nothing is charged where `rates` is missing. */
export interface Charge extends Interval {
  readonly rates?: string
  readonly amountPico: bigint
}

/** The log's clock is several servers' clocks: by this much one of them may be ahead of another. */
const skewMsMax = 1_000

/**
 * Cuts an attempt's time, from its placement to its end, into intervals that follow each other without a gap:
 * each millisecond lies in exactly one phase. Lengths are the host's own where one boot id spans them, and
 * differences of stored times otherwise; together they never exceed what the log saw pass between placement
 * and end. Of an attempt that has not ended, the time up to the host's last word.
 */
export const intervalsOf = ({ lostAtMs, marks, placedAtMs }: Lived): ReadonlyArray<Interval> =>
  lostAtMs === undefined ? lived(placedAtMs, untilEnd(marks)) : lost(placedAtMs, marks, lostAtMs)

/** The word that ends an attempt: the first one. What its host says after it changes nothing. */
export const endOf = (marks: ReadonlyArray<Mark>): Mark | undefined => marks.find(({ what }) => what === "exited" || what === "refused")

const untilEnd = (marks: ReadonlyArray<Mark>): ReadonlyArray<Mark> => {
  const end = endOf(marks)
  return end === undefined ? marks : marks.slice(0, marks.indexOf(end) + 1)
}

interface Gap {
  readonly phase: Phase
  readonly counted: boolean
  readonly ms: number
}

const lived = (placedAtMs: number, marks: ReadonlyArray<Mark>): ReadonlyArray<Interval> => {
  const last = marks.at(-1)
  if (last === undefined) return []
  const gaps = gapsOf(placedAtMs, marks)
  const passedMs = Math.max(0, last.storedAtMs - placedAtMs)
  // What cost money is measured best, so it is bounded last: a start that was told late only looks long before.
  const counted = within(gaps.filter((gap) => gap.counted), passedMs + skewMsMax)
  const before = within(gaps.filter((gap) => !gap.counted), passedMs - lengthOf(counted))
  return inRow(placedAtMs, [...before, ...counted])
}

/** The time before each mark, in the phase that the mark before it began. */
const gapsOf = (placedAtMs: number, marks: ReadonlyArray<Mark>): ReadonlyArray<Gap> => {
  let phase: Phase = "preparing"
  let counted = false
  let before: Pick<Mark, "bootId" | "hostMs" | "storedAtMs"> = { storedAtMs: placedAtMs }
  return marks.map((mark) => {
    const gap = { phase, counted, ms: between(before, mark) }
    if (mark.what === "started") {
      counted = true
      if (phase === "preparing" || phase === "restoring") phase = "running"
    } else if (mark.what !== "exited" && mark.what !== "refused") phase = mark.what
    before = mark
    return gap
  })
}

const between = (from: Pick<Mark, "bootId" | "hostMs" | "storedAtMs">, to: Mark): number =>
  Math.max(0, from.bootId !== undefined && from.bootId === to.bootId && from.hostMs !== undefined && to.hostMs !== undefined
    ? to.hostMs - from.hostMs
    : to.storedAtMs - from.storedAtMs)

const lost = (placedAtMs: number, marks: ReadonlyArray<Mark>, lostAtMs: number): ReadonlyArray<Interval> => {
  const started = marks.find(({ what }) => what === "started")
  const passedMs = Math.max(0, lostAtMs - placedAtMs)
  const preparing = within(started === undefined ? [] : [{ phase: "preparing" as const, counted: false, ms: Math.max(0, started.storedAtMs - placedAtMs) }], passedMs)
  return inRow(placedAtMs, [...preparing, { phase: "lost", counted: false, ms: passedMs - lengthOf(preparing) }])
}

const lengthOf = (gaps: ReadonlyArray<Gap>): number => gaps.reduce((sum, { ms }) => sum + ms, 0)

/** Shortens the last gaps so that all of them fit. */
const within = (gaps: ReadonlyArray<Gap>, msMax: number): ReadonlyArray<Gap> => {
  let left = Math.max(0, msMax)
  return gaps.map((gap) => {
    const ms = Math.min(gap.ms, left)
    left -= ms
    return { ...gap, ms }
  })
}

/** One behind the other; neighbours of one phase are one interval, and what took no time is none. */
const inRow = (fromMs: number, gaps: ReadonlyArray<Gap>): ReadonlyArray<Interval> => {
  const intervals: Array<Interval> = []
  let at = fromMs
  for (const { counted, ms, phase } of gaps) {
    if (ms === 0) continue
    const last = intervals.at(-1)
    if (last !== undefined && last.phase === phase && last.counted === counted) intervals[intervals.length - 1] = { ...last, ms: last.ms + ms }
    else intervals.push({ phase, counted, fromMs: at, ms })
    at += ms
  }
  return intervals
}

/** Whose money an attempt may spend, what it holds meanwhile, and which books were published by then. */
export interface Terms {
  readonly workspace: WorkspaceName
  readonly held: Held
  readonly sharePico: bigint
  readonly books: PriceBooks
  /** Moments at which a reader wants rows cut besides, such as midnights. They change no sum. */
  readonly cutsAtMs?: ReadonlyArray<number>
}

/**
 * Prices intervals: the same rows make up an attempt's spend and its usage, so the two can never differ. Where
 * prices change, an interval is cut in two. The attempt's time is priced as one whole and each row bears what it
 * adds, so minima and steps are borne once and rounding is at most one pico-dollar a price. Nothing beyond the
 * share is charged.
 */
export const chargesOf = (intervals: ReadonlyArray<Interval>, { books, cutsAtMs = [], held, sharePico, workspace }: Terms): ReadonlyArray<Charge> => {
  let ms = 0
  let leftPico = sharePico
  const changes = intervals.flatMap(({ fromMs, ms }) => rateChanges(books, { workspace, fromMs, toMs: fromMs + ms }))
  return intervals.flatMap((interval) => cut(interval, [...(interval.counted ? changes : []), ...cutsAtMs])).map((interval): Charge => {
    const rates = interval.counted ? ratesAt(books, { workspace, atMs: interval.fromMs }) : undefined
    if (rates === undefined) return { ...interval, amountPico: 0n }
    const costPico = priceOf(rates, held, ms + interval.ms) - priceOf(rates, held, ms)
    ms += interval.ms
    const amountPico = costPico < leftPico ? costPico : leftPico
    leftPico -= amountPico
    return { ...interval, rates: rates.name, amountPico }
  })
}

/** What an attempt costs, once and for all: the sum of its rows. */
export const spendOf = (charges: ReadonlyArray<Charge>): bigint => charges.reduce((sum, { amountPico }) => sum + amountPico, 0n)

const cut = (interval: Interval, atMs: ReadonlyArray<number>): ReadonlyArray<Interval> => {
  const toMs = interval.fromMs + interval.ms
  const within = [...new Set(atMs)].filter((one) => one > interval.fromMs && one < toMs).sort((left, right) => left - right)
  const bounds = [interval.fromMs, ...within, toMs]
  return bounds.slice(0, -1).map((fromMs, index) => ({ ...interval, fromMs, ms: bounds[index + 1]! - fromMs }))
}
