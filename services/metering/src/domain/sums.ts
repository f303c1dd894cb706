import { dollarsText } from "@millrace/pricing"

/** What is summed of a usage row. */
export interface Summed {
  readonly attemptId: string
  readonly phase: string
  readonly ms: number
  readonly counted: boolean
  readonly amountPico: bigint
  readonly settled: boolean
}

/** Sums of usage rows under one key, amounts as decimal texts. */
export interface Sum {
  readonly key: string
  readonly attempts: number
  readonly chargedMs: number
  readonly freeMs: number
  readonly lostMs: number
  readonly lostAttempts: number
  readonly amountPico: string
  readonly dollars: string
  readonly unsettledPico: string
}

/** Sums rows. Each row is in exactly one of charged, free and lost time. */
export const sumOf = (key: string, rows: ReadonlyArray<Summed>): Sum => {
  const ms = (fits: (row: Summed) => boolean) => rows.reduce((sum, row) => fits(row) ? sum + row.ms : sum, 0)
  const pico = (fits: (row: Summed) => boolean) => rows.reduce((sum, row) => fits(row) ? sum + row.amountPico : sum, 0n)
  const amountPico = pico(() => true)
  return {
    key,
    attempts: new Set(rows.map(({ attemptId }) => attemptId)).size,
    chargedMs: ms(({ counted }) => counted),
    freeMs: ms(({ counted, phase }) => !counted && phase !== "lost"),
    lostMs: ms(({ phase }) => phase === "lost"),
    lostAttempts: new Set(rows.filter(({ phase }) => phase === "lost").map(({ attemptId }) => attemptId)).size,
    amountPico: String(amountPico),
    dollars: dollarsText(amountPico),
    unsettledPico: String(pico(({ settled }) => !settled))
  }
}

/** Sums by a key, in the order of the keys. */
export const sumsBy = <Row extends Summed>(rows: ReadonlyArray<Row>, keyOf: (row: Row) => string): ReadonlyArray<Sum> => {
  const groups = new Map<string, Array<Row>>()
  for (const row of rows) {
    const key = keyOf(row)
    groups.set(key, [...groups.get(key) ?? [], row])
  }
  return [...groups].sort(([left], [right]) => (left < right ? -1 : 1)).map(([key, group]) => sumOf(key, group))
}

/** The midnights (UTC) within a stretch of time. */
export const midnights = (fromMs: number, toMs: number): ReadonlyArray<number> => {
  const dayMs = 86_400_000
  const found: Array<number> = []
  for (let atMs = Math.ceil(fromMs / dayMs) * dayMs; atMs < toMs; atMs += dayMs) found.push(atMs)
  return found
}
