/** How much somebody may send: so many bytes a second, and after a silence so many at once. */
export class Allowance {
  readonly #perSecond: number
  readonly #atOnce: number
  #left: number
  #atMs: number

  constructor({ atMs, atOnce, perSecond }: { readonly perSecond: number; readonly atOnce: number; readonly atMs: number }) {
    this.#perSecond = perSecond
    this.#atOnce = atOnce
    this.#left = atOnce
    this.#atMs = atMs
  }

  /** Whether so many bytes may go now; those that may not are not owed later. `atMs` never goes back. */
  takes(bytes: number, atMs: number): boolean {
    this.#left = Math.min(this.#atOnce, this.#left + ((atMs - this.#atMs) * this.#perSecond) / 1000)
    this.#atMs = atMs
    if (bytes > this.#left) return false
    this.#left -= bytes
    return true
  }
}
