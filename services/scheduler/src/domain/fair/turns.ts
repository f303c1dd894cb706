import { Heap } from "../heap.ts"
import type { Amounts } from "./amounts.ts"
import { compareShares, dominantShare, type Share } from "./shares.ts"
import type { QuotaLedger } from "./tree.ts"

interface Place {
  readonly name: string
  share: Share
  /** Those below it that have work, the one with the smallest share first; none of a workspace. */
  readonly below: Heap<Place>
}

/**
 * Whose turn it is among those that have work waiting: at each level of the tree of those that share, the one whose
 * dominant share is the smallest; of equals the first by name. Workspaces that share with nobody stand beside the
 * roots. A turn is an entry of the heap at every level of its path, so what is taken in a turn moves only that path.
 */
export class Turns {
  readonly #ledger: QuotaLedger
  readonly #capacity: Amounts
  readonly #roots = new Heap<Place>(before)
  readonly #places = new Map<string, Place>()

  constructor(ledger: QuotaLedger, capacity: Amounts, names: Iterable<string>) {
    this.#ledger = ledger
    this.#capacity = capacity
    for (const name of names) this.#enter(name)
  }

  /** Whose turn it is. */
  first(): string | undefined {
    let place = this.#roots.peek()
    for (let below = place?.below.peek(); below !== undefined; below = place?.below.peek()) place = below
    return place?.name
  }

  /** The first has taken something, or has nothing more to take: it finds its place again, or leaves. */
  moved(leaves: boolean): void {
    const path: Array<Heap<Place>> = []
    for (let heap = this.#roots; heap.peek() !== undefined; heap = heap.peek()!.below) path.push(heap)
    let gone = leaves
    for (const heap of path.reverse()) {
      const place = heap.pop()!
      if (gone && place.below.size === 0) {
        this.#places.delete(place.name)
        continue
      }
      gone = false
      place.share = this.#shareOf(place.name)
      heap.push(place)
    }
  }

  #enter(name: string): void {
    let heap = this.#roots
    // From the root down: a place must be in its parent's heap before anything is in its own.
    for (const node of [...this.#ledger.tree.path(name)].reverse()) {
      let place = this.#places.get(node)
      if (place === undefined) {
        place = { name: node, share: this.#shareOf(node), below: new Heap<Place>(before) }
        this.#places.set(node, place)
        heap.push(place)
      }
      heap = place.below
    }
  }

  #shareOf(name: string): Share {
    return dominantShare(this.#ledger.held(name), this.#capacity, this.#ledger.tree.weightOf(name))
  }
}

const before = (left: Place, right: Place): boolean => {
  const order = compareShares(left.share, right.share)
  return order < 0 || (order === 0 && left.name < right.name)
}
