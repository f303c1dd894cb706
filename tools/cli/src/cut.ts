import { type Cut, streamNames } from "@millrace/schemas"

/** A place in the log that somebody names: a cut, or the moment up to which it was stored. */
export type Moment = { readonly cut: Cut } | { readonly atMs: number }

/** A cut as it travels in a query: `GATEWAY=12,SCHEDULER=40`. */
export const cutText = (cut: Cut): string => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")

const entry = /^([A-Z]+)=([0-9]{1,15})$/u

/** Reads `GATEWAY=12,SCHEDULER=40`. Undefined: it is no cut, or names a stream that there is not. */
export const parseCut = (text: string): Cut | undefined => {
  const entries = text.split(",").map((part) => entry.exec(part.trim()))
  const known: ReadonlyArray<string> = streamNames
  if (entries.some((match) => match === null || !known.includes(match[1]!))) return undefined
  return Object.fromEntries(entries.map((match) => [match![1]!, Number(match![2])]))
}

/** Reads a cut, or a time such as `2026-07-01T12:00:00Z`. */
export const parseMoment = (text: string): Moment | undefined => {
  const cut = parseCut(text)
  if (cut !== undefined) return { cut }
  const atMs = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?)?$/u.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : { atMs }
}
