import { wholeMilli } from "./host.ts"
import type { Typical } from "./mix.ts"
import { sizeOf } from "./request.ts"

/** Parts that are told apart; rarer ones are taken for none. */
const partsMax = 24
/** More pivots than ever were needed: the rest of the way is worth less than the time. */
const pivotsMax = 200
/** What is less than this is nothing, in sums of shares of a device. */
const nothing = 1e-9

/**
 * What the rest of a device is worth to parts of the usual sizes.
 *
 * Cutting whole devices into the parts that are asked for, in their proportions, with the least waste is the cutting
 * stock problem; its linear relaxation is solved by Gilmore and Gomory's column generation (Operations Research 9, 1961,
 * and 11, 1963). The duals say what each part is worth in devices, and a knapsack over them what any rest is worth: 470
 * of a device with 530 free leave nothing that counts, on an empty one they leave room for their like.
 */
export class Patterns {
  /** By the milli that are free: what they are worth, in shares of a device. */
  readonly worth: Float64Array

  constructor(typical: ReadonlyArray<Typical>) {
    const counts = new Map<number, number>()
    for (const { count, request } of typical) {
      const { deviceMilli, devices } = sizeOf(request)
      if (devices === 1 && deviceMilli < wholeMilli) counts.set(deviceMilli, (counts.get(deviceMilli) ?? 0) + count)
    }
    const parts = [...counts].sort(([left, leftCount], [right, rightCount]) => rightCount - leftCount || left - right).slice(0, partsMax)
    this.worth = worthOf(parts.map(([milli]) => milli), dualsOf(parts))
  }

  /** What the device is worth less, if so much of its `free` is taken. */
  cost(free: number, milli: number): number {
    return this.worth[free]! - this.worth[free - milli]!
  }
}

/** The best use of every amount up to a whole device, given what each part is worth. */
const worthOf = (milli: ReadonlyArray<number>, duals: ReadonlyArray<number>): Float64Array => {
  const worth = new Float64Array(wholeMilli + 1)
  for (let amount = 1; amount <= wholeMilli; amount += 1) {
    let most = worth[amount - 1]!
    for (let part = 0; part < milli.length; part += 1) {
      const rest = amount - milli[part]!
      if (rest >= 0 && duals[part]! + worth[rest]! > most) most = duals[part]! + worth[rest]!
    }
    worth[amount] = most
  }
  return worth
}

/** The most worthy way to cut one device, read back from the worth of every amount. */
const patternOf = (milli: ReadonlyArray<number>, duals: ReadonlyArray<number>, worth: Float64Array): Array<number> => {
  const pattern = milli.map(() => 0)
  let amount = wholeMilli
  while (amount > 0) {
    if (worth[amount] === worth[amount - 1]) {
      amount -= 1
      continue
    }
    const part = milli.findIndex((one, at) => one <= amount && duals[at]! + worth[amount - one]! === worth[amount])
    pattern[part]! += 1
    amount -= milli[part]!
  }
  return pattern
}

/**
 * Duals of the least number of devices for so many of each part, by the simplex method on the rows of parts. It begins
 * with devices cut into one part alone, and lets in the most worthy pattern until none is worth more than a device.
 */
const dualsOf = (parts: ReadonlyArray<readonly [milli: number, count: number]>): ReadonlyArray<number> => {
  const rows = parts.length
  const milli = parts.map(([one]) => one)
  // The inverse of the basis, and how many devices are cut by each of its patterns.
  const inverse = milli.map((one, row) => milli.map((_, column) => (row === column ? 1 / Math.floor(wholeMilli / one) : 0)))
  const cut = parts.map(([, count], row) => count * inverse[row]![row]!)
  let duals = milli.map(() => 0)
  for (let pivots = 0; pivots < pivotsMax; pivots += 1) {
    duals = milli.map((_, column) => inverse.reduce((sum, row) => sum + row[column]!, 0))
    const pattern = patternOf(milli, duals, worthOf(milli, duals))
    if (pattern.reduce((sum, times, part) => sum + times * duals[part]!, 0) <= 1 + nothing) break
    const direction = inverse.map((row) => row.reduce((sum, one, column) => sum + one * pattern[column]!, 0))
    let leaving = -1
    for (let row = 0; row < rows; row += 1) {
      if (direction[row]! > nothing && (leaving < 0 || cut[row]! / direction[row]! < cut[leaving]! / direction[leaving]!)) leaving = row
    }
    if (leaving < 0) break
    const pivot = direction[leaving]!
    const step = cut[leaving]! / pivot
    for (let row = 0; row < rows; row += 1) {
      if (row === leaving) continue
      cut[row]! -= step * direction[row]!
      const times = direction[row]! / pivot
      if (times !== 0) for (let column = 0; column < rows; column += 1) inverse[row]![column]! -= times * inverse[leaving]![column]!
    }
    cut[leaving] = step
    for (let column = 0; column < rows; column += 1) inverse[leaving]![column]! /= pivot
  }
  return duals.map((dual) => Math.max(0, dual))
}
