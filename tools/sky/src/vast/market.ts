import { hash } from "node:crypto"
import type { Host } from "./hosts.ts"

export interface MarketOptions {
  readonly seed: string
  /** How long an offer keeps its number. Infinity: as long as the market lives, and all are there. */
  readonly offerMs: number
  /** How often others bid anew. */
  readonly rivalMs: number
}

/** What one host offers at a moment. Money is millionths of a dollar an hour, storage left out. */
export interface Listing {
  readonly host: Host
  readonly ask: number
  readonly microPerHour: number
  /** The least that its owner takes. */
  readonly floorMicro: number
  /** What others bid for it. */
  readonly rivalMicro: number
}

/** Numbers of one host lie apart from each other's by this. */
const asksPerHost = 100_000_000
/** So many hosts out of a thousand are on the market at a time. */
const therePermille = 850

/**
 * A market whose offers come and go: which, when and at what price follows from the seed, the host and the time,
 * so that two runs at the same moments see the same. Each offer's number is good for some seconds.
 */
export class Market {
  readonly #options: MarketOptions

  constructor(options: MarketOptions) {
    this.#options = options
  }

  /** A number from 0 up to 1, always the same for the same words. */
  #draw(...words: ReadonlyArray<string | number>): number {
    return Number.parseInt(hash("sha256", [this.#options.seed, ...words].join("/"), "hex").slice(0, 12), 16) / 2 ** 48
  }

  /** Hosts do not come and go all in one moment. */
  #turn(host: Host, atMs: number, everyMs: number): number {
    return Number.isFinite(everyMs) ? Math.floor((atMs + this.#draw("phase", host.number) * everyMs) / everyMs) : 0
  }

  /** What a host offers now; nothing, where somebody else has it or its owner is away. */
  listing(host: Host, atMs: number, spotPermille: number): Listing | undefined {
    const turn = this.#turn(host, atMs, this.#options.offerMs)
    if (Number.isFinite(this.#options.offerMs) && this.#draw("there", host.number, turn) * 1000 >= therePermille) return undefined
    return { host, ask: host.number * asksPerHost + (turn % asksPerHost), microPerHour: this.#price(host, atMs), ...this.bids(host, atMs, spotPermille) }
  }

  #price(host: Host, atMs: number): number {
    const turn = this.#turn(host, atMs, this.#options.rivalMs)
    return turn === 0 ? host.microPerHour : Math.round(host.microPerHour * (0.95 + 0.1 * this.#draw("price", host.number, turn)))
  }

  /** What must be bid for a host: at least what its owner takes, and more than others. */
  bids(host: Host, atMs: number, spotPermille: number): Pick<Listing, "floorMicro" | "rivalMicro"> {
    const turn = this.#turn(host, atMs, this.#options.rivalMs)
    const floorMicro = Math.round(host.microPerHour * 0.4)
    return { floorMicro, rivalMicro: Math.round((host.microPerHour * (0.1 + 0.5 * this.#draw("rival", host.number, turn)) * spotPermille) / 1000) }
  }

  /** The host behind an offer's number, whether it is still good or not. */
  static hostOf(ask: number): number {
    return Math.floor(ask / asksPerHost)
  }
}

/** What has to be bid to run. */
export const minBidMicro = ({ floorMicro, rivalMicro }: Pick<Listing, "floorMicro" | "rivalMicro">): number => Math.max(floorMicro, rivalMicro)
