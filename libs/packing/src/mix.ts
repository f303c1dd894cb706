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
const againAfterMax = 4096
/** What is typical stays as it is while what came since differs by no more than this share of all tasks. */
const differencePermille = 40

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
    const typical = mostFrequent([...this.#seen], this.#sum)
    if (differenceOf(this.typical, typical) * 1000 <= differencePermille) return
    this.typical = typical
    this.version += 1
  }

  saved(): SavedMix {
    return { seen: [...this.#seen.values()].map(({ count, request }) => ({ request, count })), typical: this.typical, heard: this.#heard, nextAt: this.#nextAt }
  }

  static from({ heard, nextAt, seen, typical }: SavedMix): Mix {
    const mix = new Mix()
    for (const { count, request } of seen) {
      mix.#seen.set(keyOf(request), { request, count })
      mix.#sum += count
    }
    mix.typical = typical
    mix.#heard = heard
    mix.#nextAt = nextAt
    mix.version = 1
    return mix
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

/** The share of tasks that are of another request in one mix than in the other: 0 where they are alike, 1 where nothing is. */
const differenceOf = (left: ReadonlyArray<Typical>, right: ReadonlyArray<Typical>): number => {
  const leftSum = sumOf(left)
  const rightSum = sumOf(right)
  if (leftSum === 0 || rightSum === 0) return leftSum === rightSum ? 0 : 1
  const counts = new Map(left.map(({ count, request }) => [keyOf(request), count]))
  return right.reduce((rest, { count, request }) => rest - Math.min(count / rightSum, (counts.get(keyOf(request)) ?? 0) / leftSum), 1)
}

const sumOf = (typical: ReadonlyArray<Typical>): number => typical.reduce((sum, { count }) => sum + count, 0)

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
