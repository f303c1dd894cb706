import { timeOfId } from "@millrace/decider"
import type { SnapshotId } from "@millrace/schemas"

/** Snapshots that no job can start from any more: the newest by name, in the order in which they went. */
export class Gone {
  readonly #max: number
  readonly #ids = new Set<string>()
  /** When the latest of those began to be that are not known by name any more. */
  #upToMs: number | undefined

  constructor(max: number) {
    this.#max = max
  }

  get ids(): ReadonlySet<string> {
    return this.#ids
  }

  get upToMs(): number | undefined {
    return this.#upToMs
  }

  load(ids: Iterable<string>, upToMs: number | undefined): void {
    for (const id of ids) this.#ids.add(id)
    this.#upToMs = upToMs
  }

  add(id: SnapshotId): void {
    this.#ids.delete(id)
    this.#ids.add(id)
    for (const oldest of this.#ids) {
      if (this.#ids.size <= this.#max) return
      this.#ids.delete(oldest)
      this.#upToMs = Math.max(this.#upToMs ?? 0, timeOfId(oldest))
    }
  }

  /** Whether it is known by name to be gone. */
  has(id: string): boolean {
    return this.#ids.has(id)
  }

  /** Whether one of which nothing is known is as old as those that were forgotten: it is one of them, or never was. */
  mustBe(id: string): boolean {
    return this.#upToMs !== undefined && timeOfId(id) <= this.#upToMs
  }
}
