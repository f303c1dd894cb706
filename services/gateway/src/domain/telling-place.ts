import { type Cut, cutFrom, cutText } from "@millrace/schemas"

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
