/** One type of machine that a pretend cloud sells. Money is pico-dollars an hour: every list price is a whole number of them. */
export interface Ware {
  readonly name: string
  /** What the vendor calls its GPU. */
  readonly gpu: string | undefined
  readonly gpus: number
  /** Memory of one GPU. */
  readonly gpuMemoryGib?: number
  readonly vcpus: number
  readonly memoryGib: number
  readonly picoPerHour: bigint
  /** Where it is sold as spot too: what that costs on an ordinary day. */
  readonly spotPicoPerHour?: bigint
  /** Which list the price was read from, and when. */
  readonly source: string
}

/** What no vendor sells: small enough that a laptop can pretend to be one. */
export const madeUp = "made up for this machine, 2026-11: no vendor sells it"

/** Dollars as price lists write them, `"1.29"` or `"0.0441"`, exactly. */
export const dollars = (text: string): bigint => {
  const [, whole = "", part = ""] = /^(\d+)(?:\.(\d{1,12}))?$/u.exec(text) ?? []
  if (whole === "") throw new Error(`${text} is no price in dollars`)
  return BigInt(whole) * 1_000_000_000_000n + BigInt(part.padEnd(12, "0"))
}

/** The other way round, without trailing zeros: what a vendor's answer says. */
export const dollarsText = (pico: bigint): string => {
  const text = pico.toString().padStart(13, "0")
  return `${text.slice(0, -12)}.${text.slice(-12).replace(/0+$/u, "").padEnd(4, "0")}`
}
