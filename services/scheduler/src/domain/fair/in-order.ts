import type { Dimension } from "./amounts.ts"
import { mightBeGuaranteed, ownOrder, type Piece } from "./standing.ts"
import type { QuotaTree } from "./tree.ts"

/** A piece with what it uses of each dimension that is limited for its workspace, in one order. */
interface Item<P> {
  readonly piece: P
  readonly needs: ReadonlyArray<number>
}

/** What is left of the quota is noted before each so-manieth piece, and counted on from there. */
const notedEvery = 64

/**
 * Pieces of one workspace in their own order, with which its nominal quota carries: `guaranteedOf` says which. Asking
 * what it would say of a few more costs a look at a few pieces, and not at all that run.
 */
export class InOrder<P extends Piece> {
  readonly #limited: ReadonlyArray<Dimension>
  readonly #nominal: ReadonlyArray<number>
  readonly #gives: boolean
  #items: Array<Item<P>>
  readonly #carried = new Set<P>()
  /** Up to here it is known who is carried, and what is left then; and what was left before every so-manieth. */
  #known = 0
  #left: Array<number>
  readonly #notes: Array<ReadonlyArray<number>> = []

  constructor(tree: QuotaTree, node: string, pieces: () => ReadonlyArray<P>) {
    this.#limited = [...tree.limitedFor(node)]
    this.#nominal = this.#limited.map((dimension) => tree.limitOf(node, dimension).nominal)
    this.#gives = mightBeGuaranteed(tree, node)
    this.#left = [...this.#nominal]
    this.#items = this.#gives ? pieces().map((piece) => this.#itemOf(piece)).sort(byOrder) : []
  }

  add(piece: P): void {
    if (!this.#gives) return
    const item = this.#itemOf(piece)
    const at = this.#behind(item)
    this.#forgetFrom(at)
    this.#items.splice(at, 0, item)
  }

  /** Leaves those that `stays` says nothing for. */
  keep(stays: (piece: P) => boolean): void {
    const first = this.#items.findIndex(({ piece }) => !stays(piece))
    if (first < 0) return
    this.#forgetFrom(first)
    this.#items = this.#items.filter(({ piece }) => stays(piece))
  }

  isCarried(piece: P): boolean {
    this.#countTo(this.#items.length)
    return this.#carried.has(piece)
  }

  /** Whether all of some more pieces would be carried if they ran, too. */
  wouldCarry(pieces: ReadonlyArray<P>): boolean {
    if (!this.#gives) return false
    const more = pieces.map((piece) => this.#itemOf(piece)).sort(byOrder)
    let at = this.#behind(more[0]!)
    const left = this.#leftBefore(at)
    for (const item of more) {
      for (const to = this.#behind(item); at < to; at += 1) take(left, this.#items[at]!.needs)
      if (!take(left, item.needs)) return false
    }
    return true
  }

  #itemOf(piece: P): Item<P> {
    return { piece, needs: this.#limited.map((dimension) => Math.max(0, piece.amounts.get(dimension) ?? 0)) }
  }

  /** Where one stands that comes behind all that stand as it does. */
  #behind(item: Item<P>): number {
    let low = 0
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (byOrder(this.#items[middle]!, item) <= 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #forgetFrom(at: number): void {
    if (at >= this.#known) return
    const note = Math.floor(at / notedEvery)
    const from = note * notedEvery
    for (let index = from; index < this.#known; index += 1) this.#carried.delete(this.#items[index]!.piece)
    this.#known = from
    this.#left = [...this.#notes[note] ?? this.#nominal]
    this.#notes.length = note
  }

  #countTo(end: number): void {
    for (; this.#known < end; this.#known += 1) {
      if (this.#known % notedEvery === 0) this.#notes.push([...this.#left])
      const { needs, piece } = this.#items[this.#known]!
      if (take(this.#left, needs)) this.#carried.add(piece)
    }
  }

  #leftBefore(at: number): Array<number> {
    this.#countTo(at)
    if (at === this.#known) return [...this.#left]
    const note = Math.floor(at / notedEvery)
    const left = [...this.#notes[note]!]
    for (let index = note * notedEvery; index < at; index += 1) take(left, this.#items[index]!.needs)
    return left
  }
}

const byOrder = (left: Item<Piece>, right: Item<Piece>): number => ownOrder(left.piece, right.piece)

/** Takes what is needed, where something is and all of it is there. */
const take = (left: Array<number>, needs: ReadonlyArray<number>): boolean => {
  let uses = false
  for (let at = 0; at < needs.length; at += 1) {
    if (needs[at]! > left[at]!) return false
    uses ||= needs[at]! > 0
  }
  if (!uses) return false
  for (let at = 0; at < needs.length; at += 1) left[at]! -= needs[at]!
  return true
}
