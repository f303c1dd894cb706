/** A token bucket of the vendor's request throttling: so many at once, and so many more each second. */
export interface Limit {
  readonly burst: number
  readonly perSecond: number
}

export class Bucket {
  readonly #limit: Limit
  #left: number
  #atMs: number | undefined

  constructor(limit: Limit) {
    this.#limit = limit
    this.#left = limit.burst
  }

  /** Whether one more may come now. */
  takes(atMs: number): boolean {
    const passedMs = Math.max(0, atMs - (this.#atMs ?? atMs))
    this.#atMs = atMs
    this.#left = Math.min(this.#limit.burst, this.#left + (passedMs * this.#limit.perSecond) / 1000)
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}
