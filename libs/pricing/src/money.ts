/** Pico-dollars in one dollar. */
export const picoPerDollar = 1_000_000_000_000n

/** Whole dollars and at most twelve decimals; no sign, because nobody asks for less than nothing. */
const DOLLARS = /^(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,12}))?$/u

/**
 * An amount as an exact decimal number of dollars, for machines: no symbol, no exponent, at least two and at
 * most twelve decimals, none of them a needless zero behind the second. `123000000n` is `0.000123`.
 */
export const dollarsText = (pico: bigint): string => {
  const { decimals, sign, whole } = partsOf(pico)
  return `${sign}${whole}.${decimals.replace(/0+$/u, "").padEnd(2, "0")}`
}

/**
 * An amount for people: `$0.000123`, `-$4.20`, `$1,204.00`. Exact down to a millionth of a dollar; what is finer
 * is rounded half to even there, unless that would show something as nothing: then it is shown exactly.
 */
export const moneyText = (pico: bigint): string => {
  const rounded = roundedTo(pico, 1_000_000n)
  const { decimals, sign, whole } = partsOf(rounded === 0n ? pico : rounded)
  const grouped = whole.replace(/\B(?=(?:[0-9]{3})+$)/gu, ",")
  return `${sign}$${grouped}.${decimals.replace(/0+$/u, "").padEnd(2, "0")}`
}

/** The amount that a text such as `0.05`, `$12` or `1204.000001` names; undefined when it names none. Never negative. */
export const picoOf = (text: string): bigint | undefined => {
  const [, whole, decimals = ""] = DOLLARS.exec(text.trim().replace(/^\$/u, "")) ?? []
  return whole === undefined ? undefined : BigInt(whole) * picoPerDollar + BigInt(decimals.padEnd(12, "0"))
}

const partsOf = (pico: bigint): { readonly sign: string; readonly whole: string; readonly decimals: string } => {
  const size = pico < 0n ? -pico : pico
  return {
    sign: pico < 0n ? "-" : "",
    whole: String(size / picoPerDollar),
    decimals: String(size % picoPerDollar).padStart(12, "0")
  }
}

/** To a multiple of a unit, half to even. */
const roundedTo = (pico: bigint, unit: bigint): bigint => {
  const size = pico < 0n ? -pico : pico
  const rest = size % unit
  const down = size - rest
  const up = rest * 2n > unit || (rest * 2n === unit && (down / unit) % 2n === 1n)
  const rounded = up ? down + unit : down
  return pico < 0n ? -rounded : rounded
}
