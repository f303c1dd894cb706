/** What stands in a queue: its place is its number, and never changes. */
interface Numbered {
  readonly number: number
}

/** A queue in the order of numbers. Nearly everything comes last and leaves first; the rest is found by halving. */
export class Queue<T extends Numbered> {
  readonly items: Array<T> = []

  add(item: T): void {
    const at = this.#placeOf(item.number)
    if (this.items[at] !== item) this.items.splice(at, 0, item)
  }

  remove(item: T): void {
    const at = this.#placeOf(item.number)
    if (this.items[at] === item) this.items.splice(at, 1)
  }

  #placeOf(number: number): number {
    const { items } = this
    let low = 0
    let high = items.length
    if (high > 0 && items[high - 1]!.number < number) return high
    while (low < high) {
      const middle = (low + high) >> 1
      if (items[middle]!.number < number) low = middle + 1
      else high = middle
    }
    return low
  }
}
