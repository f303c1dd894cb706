/** A binary heap: the first by `before` is at hand, adding and taking cost the logarithm of their number. */
export class Heap<T> {
  readonly #before: (left: T, right: T) => boolean
  #items: Array<T>

  constructor(before: (left: T, right: T) => boolean, items: ReadonlyArray<T> = []) {
    this.#before = before
    this.#items = [...items]
    for (let at = (this.#items.length >> 1) - 1; at >= 0; at -= 1) this.#sink(at)
  }

  get size(): number {
    return this.#items.length
  }

  peek(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    const items = this.#items
    let at = items.length
    items.push(item)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!this.#before(item, items[above]!)) break
      items[at] = items[above]!
      at = above
    }
    items[at] = item
  }

  pop(): T | undefined {
    const first = this.#items[0]
    const last = this.#items.pop()
    if (this.#items.length > 0 && last !== undefined) {
      this.#items[0] = last
      this.#sink(0)
    }
    return first
  }

  /** All that a test holds of, where whatever comes later fails it too once an earlier one has. */
  while(holds: (item: T) => boolean): ReadonlyArray<T> {
    const found: Array<T> = []
    const look = (at: number): void => {
      const item = this.#items[at]
      if (item === undefined || !holds(item)) return
      found.push(item)
      look(2 * at + 1)
      look(2 * at + 2)
    }
    look(0)
    return found
  }

  /** Keeps what a test holds of. */
  keep(holds: (item: T) => boolean): void {
    this.#items = this.#items.filter(holds)
    for (let at = (this.#items.length >> 1) - 1; at >= 0; at -= 1) this.#sink(at)
  }

  #sink(from: number): void {
    const items = this.#items
    const item = items[from]!
    let at = from
    while (true) {
      let below = 2 * at + 1
      if (below >= items.length) break
      if (below + 1 < items.length && this.#before(items[below + 1]!, items[below]!)) below += 1
      if (!this.#before(items[below]!, item)) break
      items[at] = items[below]!
      at = below
    }
    items[at] = item
  }
}
