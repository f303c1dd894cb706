/** Amounts are whole pico-dollars (10^-12) on the wire, and dollars for people. */
const picoPerDollar = 1_000_000_000_000n

/** The exact amount in dollars, such as `$0.001203`. */
export const dollarsExact = (pico: string | bigint): string => {
  const amount = BigInt(pico)
  const size = amount < 0n ? -amount : amount
  const cents = (size % picoPerDollar).toString().padStart(12, "0").replace(/0{0,10}$/u, "")
  return `${amount < 0n ? "-" : ""}$${size / picoPerDollar}.${cents}`
}

/** An amount that is short enough to be read in passing: four digits that count, cut off and never rounded up. */
export const dollarsShort = (pico: string | bigint): string => {
  const exact = dollarsExact(pico)
  const [whole = "", part = ""] = exact.split(".")
  if (!/^-?\$0$/u.test(whole)) return `${whole}.${part.slice(0, 2)}`
  const zeros = /^0*/u.exec(part)![0].length
  return zeros >= part.length ? `${whole}.00` : `${whole}.${part.slice(0, Math.max(2, zeros + 4)).replace(/(?<=..)0+$/u, "")}`
}

/** Reads `25`, `$0.50`: exact pico-dollars. Undefined: it is no amount, or finer than a pico-dollar. */
export const picoOf = (text: string): string | undefined => {
  const [, whole, part = ""] = /^\$?(\d{1,12})(?:\.(\d{1,12}))?$/u.exec(text.trim()) ?? []
  return whole === undefined ? undefined : String(BigInt(whole) * picoPerDollar + BigInt(part.padEnd(12, "0")))
}
