import type { PriceBooks } from "@millrace/pricing"
import type { Resources, WorkspaceName } from "@millrace/schemas"
import { heldOf } from "./charging.ts"
import { chargesOf, type Charge, endOf, intervalsOf, type Mark } from "./timeline.ts"

/** An attempt as tables remember it. */
export interface Remembered {
  readonly workspace: WorkspaceName
  readonly placedAtMs: number
  readonly resources: Resources
  /** Absent for work that nobody pays for. */
  readonly sharePico?: bigint
  readonly marks: ReadonlyArray<Mark>
  /** Present once it is charged: by which fact, and until when its time counts where that gave it up. */
  readonly spent?: { readonly settledBy: string; readonly lostAtMs?: number }
  /** The books that were published when it was charged. */
  readonly books: PriceBooks
}

/**
 * The usage rows of one attempt. Of one that is charged their sum is its spend, to the pico-dollar; of one that is
 * not yet, they are what would be charged if the host's last word so far had ended it.
 */
export const rowsOf = ({ books, marks, placedAtMs, resources, sharePico, spent, workspace }: Remembered, cutsAtMs: ReadonlyArray<number> = []): ReadonlyArray<Charge> => {
  const isLost = spent !== undefined && endOf(marks)?.factId !== spent.settledBy
  const intervals = intervalsOf({ placedAtMs, marks, ...(isLost ? { lostAtMs: spent.lostAtMs ?? placedAtMs } : {}) })
  return chargesOf(intervals, { workspace, held: heldOf(resources), sharePico: sharePico ?? 0n, books, cutsAtMs })
}
