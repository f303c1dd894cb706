import type { Held } from "@millrace/pricing"
import type { Resources, SliceId } from "@millrace/schemas"
import { type Attempt, isFrozen, type Ledger } from "./ledger.ts"
import { storyOf } from "./lending.ts"
import type { Saying } from "./saying.ts"
import { chargesOf, endOf, intervalsOf, type Lived, spendOf } from "./timeline.ts"

/**
 * Says what each attempt cost, of which all is known: at most its share, nothing when it was lost, and once for
 * all. What of the share was not spent is free in its slice again.
 */
export const charge = (ledger: Ledger, saying: Saying): void => {
  const left = new Map<SliceId, bigint>()
  for (const attempt of inOrder(ledger.index.due)) {
    const { placed } = attempt
    if (placed === undefined || isFrozen(ledger, placed.workspace, placed.hostId)) continue
    const { attempt: number, grant, jobId, partOf, share, workspace } = placed
    const out = left.get(share.slice) ?? ledger.index.slices.get(share.slice)?.outPico ?? 0n
    const sharePico = share.amountPico < out ? share.amountPico : out
    const amountPico = spendOf(chargesOf(intervalsOf(livedBy(attempt)), { workspace, held: heldOf(placed.resources), sharePico, books: ledger.books }))
    left.set(share.slice, out - amountPico)
    const settledBy = settledByOf(attempt)
    saying.say(storyOf({ id: share.account, workspace }), {
      partOf,
      causedBy: settledBy,
      ...(grant === undefined ? {} : { grant }),
      event: { _tag: "SpendCommitted", workspace, account: share.account, slice: share.slice, jobId, attempt: number, attemptId: attempt.id, amountPico, settledBy }
    })
  }
}

/** What is priced of what an attempt was placed with. */
export const heldOf = ({ cpuMilli, diskMib, gpuMilli, gpus, memoryMib }: Resources): Held =>
  ({ cpuMilli, memoryMib, diskMib, gpus, ...(gpuMilli === undefined ? {} : { gpuMilli }) })

const livedBy = ({ marks, placed, verdict }: Attempt): Lived => ({
  placedAtMs: placed!.atMs,
  marks: marks.get(placed!.hostId) ?? [],
  ...(verdict?.verdict === "lost" ? { lostAtMs: verdict.atMs } : {})
})

const settledByOf = ({ marks, placed, verdict }: Attempt) =>
  verdict?.verdict === "lost" ? verdict.by : endOf(marks.get(placed!.hostId) ?? [])!.factId

const inOrder = (attempts: Iterable<Attempt>): ReadonlyArray<Attempt> => [...attempts].sort((left, right) => (left.id < right.id ? -1 : 1))
