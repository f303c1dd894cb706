import { keyOfSize, keyOfTerms, type Request, sizeOf } from "./request.ts"

/** A request and how often it was seen, of all that the mix counts. */
export interface Typical {
  readonly request: Request
  readonly count: number
}

/** A mix as a checkpoint keeps it. */
export interface SavedMix {
  readonly seen: ReadonlyArray<Typical>
  readonly typical: ReadonlyArray<Typical>
  readonly heard: number
  readonly outOf: number
  readonly nextAt: number
}

/** Beyond so many tasks all counts are halved: what was asked long ago weighs less and less. */
const windowMax = 20_000
/** Different requests that are counted; beyond it the rare ones are forgotten first. */
const seenMax = 1024
/** The most frequent requests that together are this share of all are typical, and at most so many. */
const coverPermille = 950
const typicalMax = 96
/** What is typical is looked at again after this many more tasks, and after this share more. */
const againAfterMin = 32
const againAfterShare = 0.15
const againAfterMax = 8192
/** What is typical stays as it is while what came since differs by no more than this share of all tasks. */
const differencePermille = 60

/**
 * What is typical of the work that is asked for, learnt from the log as it is read.
 *
 * `typical` changes only in steps, ever longer ones, so that what was worked out from it can be kept in between. It
 * follows from what was learnt in its order and from nothing else: a mix that was saved and loaded goes on as the
 * one that was not.
 *
 * "Typical tasks" that cover 95 % are Weng et al., Beware of Fragmentation, USENIX ATC 2023; they take them from the
 * whole trace, we from what has come so far.
 */
export class Mix {
  /** Rises whenever `typical` changes. */
  version = 0
  /** The most frequent first. */
  typical: ReadonlyArray<Typical> = []
  readonly #seen = new Map<string, { request: Request; count: number }>()
  #heard = 0
  #sum = 0
  /** How many tasks `typical` was chosen from. */
  #outOf = 0
  #nextAt = againAfterMin

  /** Takes down that so many tasks of one kind were asked for. */
  learn(request: Request, count = 1): void {
    const key = keyOf(request)
    const seen = this.#seen.get(key)
    if (seen === undefined) this.#seen.set(key, { request: asked(request), count })
    else seen.count += count
    this.#heard += count
    this.#sum += count
    while (this.#sum > windowMax || this.#seen.size > seenMax) this.#halve()
    if (this.#heard < this.#nextAt) return
    this.#nextAt = this.#heard + Math.min(againAfterMax, Math.max(againAfterMin, Math.ceil(this.#heard * againAfterShare)))
    if (this.#difference() * 1000 <= differencePermille) return
    this.typical = mostFrequent([...this.#seen], this.#sum)
    this.#outOf = this.#sum
    this.version += 1
  }

  saved(): SavedMix {
    return { seen: [...this.#seen.values()].map(({ count, request }) => ({ request, count })), typical: this.typical, heard: this.#heard, outOf: this.#outOf, nextAt: this.#nextAt }
  }

  static from({ heard, nextAt, outOf, seen, typical }: SavedMix): Mix {
    const mix = new Mix()
    for (const { count, request } of seen) {
      mix.#seen.set(keyOf(request), { request, count })
      mix.#sum += count
    }
    mix.typical = typical
    mix.#heard = heard
    mix.#outOf = outOf
    mix.#nextAt = nextAt
    mix.version = 1
    return mix
  }

  /** The share of tasks that are of another kind now than when `typical` was made; what is not typical is one kind. */
  #difference(): number {
    if (this.#outOf === 0) return 1
    let difference = 0
    let others = 0
    for (const { count, request } of this.typical) {
      const more = (this.#seen.get(keyOf(request))?.count ?? 0) / this.#sum - count / this.#outOf
      difference += Math.abs(more)
      others -= more
    }
    return (difference + Math.abs(others)) / 2
  }

  #halve(): void {
    this.#sum = 0
    for (const [key, seen] of this.#seen) {
      seen.count = Math.floor(seen.count / 2)
      this.#sum += seen.count
      if (seen.count === 0) this.#seen.delete(key)
    }
  }
}

/** Requests of one key are one request to the mix. */
const keyOf = (request: Request): string => `${keyOfSize(sizeOf(request))} ${keyOfTerms(request)}`

/** The request alone: whatever else a caller's value carries is not kept. */
const asked = ({ cpuMilli, diskMib, gpuMilli, gpus, kinds, memoryMib, models, oneOfModels, where }: Request): Request => ({
  cpuMilli, memoryMib, diskMib, gpus, kinds,
  ...(gpuMilli === undefined ? {} : { gpuMilli }),
  ...(models === undefined ? {} : { models }),
  ...(oneOfModels === undefined ? {} : { oneOfModels }),
  ...(where === undefined ? {} : { where })
})

const mostFrequent = (seen: ReadonlyArray<readonly [string, Typical]>, sum: number): ReadonlyArray<Typical> => {
  const sorted = [...seen].sort(([leftKey, left], [rightKey, right]) => right.count - left.count || (leftKey < rightKey ? -1 : 1))
  const typical: Array<Typical> = []
  let covered = 0
  for (const [, { count, request }] of sorted) {
    if (covered * 1000 >= sum * coverPermille || typical.length === typicalMax) break
    typical.push({ request, count })
    covered += count
  }
  return typical
}
