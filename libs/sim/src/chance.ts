import type { Random } from "effect"
import { createHash } from "node:crypto"

/**
 * A seeded stream of numbers: sfc32, Chris Doty-Humphrey's Small Fast Counting generator with 32-bit words
 * (https://pracrand.sourceforge.net), seeded by SHA-256 of its name. It is also Effect's `Random`, so what a
 * service draws comes from the seed. Not for secrets.
 */
export class Chance implements Random.Random {
  readonly name: string
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(name: string) {
    this.name = name
    const seed = createHash("sha256").update(name).digest()
    this.#a = seed.readInt32LE(0)
    this.#b = seed.readInt32LE(4)
    this.#c = seed.readInt32LE(8)
    for (let round = 0; round < 12; round += 1) this.next()
  }

  /** Another stream, which depends on this one's name alone: drawing here changes nothing there. */
  fork(label: string): Chance {
    return new Chance(`${this.name}/${label}`)
  }

  /** A number from 0 up to, not including, 1. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum | 0
    return (sum >>> 0) / 4_294_967_296
  }

  /** Whether something of this probability happens. Draws a number either way. */
  happens(probability: number): boolean {
    return this.next() < probability
  }

  /** A whole number, both bounds included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  /** One of several; there must be one. */
  oneOf<A>(several: ReadonlyArray<A>): A {
    const one = several[Math.floor(this.next() * several.length)]
    if (one === undefined) throw new Error("there is nothing to choose from")
    return one
  }

  nextDoubleUnsafe(): number {
    return this.next()
  }

  nextIntUnsafe(): number {
    return Math.floor((this.next() - 0.5) * 2 * Number.MAX_SAFE_INTEGER)
  }
}
