import type { Cut } from "@millrace/schemas"

/** A cut as it travels in a query: `GATEWAY=12,SCHEDULER=40`. */
export const cutPattern = /^([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9})?$/u

export const cutText = (cut: Cut): string =>
  Object.entries(cut).sort(([left], [right]) => (left < right ? -1 : 1)).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")

export const cutFrom = (text: string): Cut | undefined =>
  cutPattern.test(text)
    ? Object.fromEntries(text === "" ? [] : text.split(",").map((entry) => [entry.slice(0, entry.indexOf("=")), Number(entry.slice(entry.indexOf("=") + 1))]))
    : undefined

/**
 * A place in the telling of a story: `from~to~told` says that all up to `from` was told, and the first
 * `told` lines of what lies behind it up to `to`. Which lines those are never changes, so whoever comes
 * back with it misses nothing and hears nothing twice.
 */
export interface TellingPlace {
  readonly from: Cut
  readonly to: Cut
  readonly told: number
}

export const placeText = ({ from, to, told }: TellingPlace): string => `${cutText(from)}~${cutText(to)}~${told}`

export const placeFrom = (text: string): TellingPlace | undefined => {
  const [fromText = "?", toText = "?", toldText = "?", ...more] = text.split("~")
  const from = cutFrom(fromText)
  const to = cutFrom(toText)
  return from === undefined || to === undefined || !/^[0-9]{1,6}$/u.test(toldText) || more.length > 0 ? undefined : { from, to, told: Number(toldText) }
}
