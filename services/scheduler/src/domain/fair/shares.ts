import type { Amounts, Dimension } from "./amounts.ts"

/** A part of the whole as a fraction, exact. The whole may be nothing: then any part of it is without bound. */
export interface Share {
  readonly part: bigint
  readonly whole: bigint
}

const nothing: Share = { part: 0n, whole: 1n }

/** Less than 0 where the left share is the smaller, 0 where they are the same. */
export const compareShares = (left: Share, right: Share): number => {
  const difference = left.whole === 0n || right.whole === 0n
    ? Number(left.whole === 0n) - Number(right.whole === 0n)
    : left.part * right.whole - right.part * left.whole
  return difference < 0 ? -1 : difference > 0 ? 1 : 0
}

/** What is shared out by dominant resource: parts of a model's devices count as devices. */
const shared: ReadonlyArray<Dimension> = ["cpuMilli", "memoryMib", "gpuMilli"]

/**
 * The dominant share of what somebody holds: of the dimensions the one of which they hold most, measured
 * against the whole cell and against how many parts they are due (dominant-resource fairness, Ghodsi et al.,
 * NSDI 2011). In whole numbers: two shares are equal or they are not.
 */
export const dominantShare = (held: Amounts, capacity: Amounts, weight: number): Share =>
  shared.reduce((most, dimension) => {
    const part = BigInt(held.get(dimension) ?? 0)
    if (part === 0n) return most
    const share = { part, whole: BigInt(capacity.get(dimension) ?? 0) * BigInt(weight) }
    return compareShares(share, most) > 0 ? share : most
  }, nothing)
