/**
 * Whose turn it is: a queue in which each key stands at most once. Whoever had a turn and wants another
 * goes to the back, so between two turns of one key every other waiting key has one.
 */
export class Turns<Key> {
  // A Set keeps the order in which keys were added.
  private readonly waiting = new Set<Key>()

  /** Waits for a turn; a key that waits already keeps its place. */
  want(key: Key): void {
    this.waiting.add(key)
  }

  /** Waits no longer. */
  leave(key: Key): void {
    this.waiting.delete(key)
  }

  /** Takes the key at the front out of the queue. */
  next(): Key | undefined {
    for (const key of this.waiting) {
      this.waiting.delete(key)
      return key
    }
    return undefined
  }
}
