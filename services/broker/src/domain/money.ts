/** How a provider counts time: whole steps, and at least so much. */
export interface Billing {
  readonly billedStepMs: number
  readonly billedMsMin: number
}

/** The time that is billed for a machine which was there from one moment to another. */
export const billedMs = ({ billedMsMin, billedStepMs }: Billing, sinceMs: number, untilMs: number): number => {
  const step = Math.max(1, billedStepMs)
  return Math.max(billedMsMin, Math.ceil(Math.max(0, untilMs - sinceMs) / step) * step)
}

/** What a machine has cost, by its provider's steps and minimum. Rounded up: we never say less than we owe. */
export const costPico = (pricePicoPerSecond: bigint, billing: Billing, sinceMs: number, untilMs: number): bigint =>
  (pricePicoPerSecond * BigInt(billedMs(billing, sinceMs, untilMs)) + 999n) / 1000n

/** What a price is for an hour. */
export const perHour = (pricePicoPerSecond: bigint): bigint => pricePicoPerSecond * 3600n
