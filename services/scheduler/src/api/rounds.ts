/** How this process has decided since it started, for whoever looks whether it does. */
export class Rounds {
  readonly #nowMs: () => number
  #count = 0
  #lastAtMs = 0

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  /** A round was decided. Called in the deciding loop: it must cost nothing. */
  passed(): void {
    this.#count += 1
    this.#lastAtMs = this.#nowMs()
  }

  get seen(): { readonly rounds: number; readonly lastRoundAtMs: number } | null {
    return this.#count === 0 ? null : { rounds: this.#count, lastRoundAtMs: this.#lastAtMs }
  }
}
