import { accountOfWorkspace } from "@millrace/authority"
import type { Round, Said } from "@millrace/journal"
import { digestOfBook } from "@millrace/pricing"
import type { Principal } from "@millrace/schemas"
import { answer, priceBooks } from "./answers.ts"
import { charge } from "./charging.ts"
import { firstBook } from "./first-book.ts"
import { isFrozen, type Ledger } from "./ledger.ts"
import { closesAtMs, lend, storyOf } from "./lending.ts"
import { Saying } from "./saying.ts"

export const actor = "service:metering" as Principal

/**
 * What follows from the ledger now: prices before anything else, because everything is charged by what was
 * published before it; then accounts and answers; then charges; and where no terms have just changed, slices.
 * Pure; the same ledger and round say the same, in the same order.
 */
export const decide = (ledger: Ledger, round: Round): ReadonlyArray<Said> => {
  const { seat } = ledger
  // Only what took over decides, and only by the settings that it took over with.
  if (seat === undefined) return []
  const saying = new Saying()
  if (ledger.books.length === 0) {
    saying.say(priceBooks, { partOf: seat.factId, causedBy: seat.factId, event: { _tag: "PriceBookPublished", priceBook: firstBook, digest: digestOfBook(firstBook), publishedBy: actor } })
    return saying.commits()
  }
  open(ledger, seat.workspaceLimitPico, saying)
  answer(ledger, round, saying)
  const termsChanged = !saying.isEmpty
  if (termsChanged) return saying.commits()
  charge(ledger, saying)
  lend(ledger, round, saying)
  return saying.commits()
}

/** When time alone would change the next decision. */
export const dueAtMs = closesAtMs

const open = (ledger: Ledger, limitPico: bigint, saying: Saying): void => {
  for (const [workspace, { factId, partOf }] of [...ledger.workspaces].sort(([left], [right]) => (left < right ? -1 : 1))) {
    const account = accountOfWorkspace(workspace)
    if (ledger.accounts.has(account) || isFrozen(ledger, workspace)) continue
    saying.say(storyOf({ id: account, workspace }), {
      partOf,
      causedBy: factId,
      event: { _tag: "BudgetOpened", workspace, account, terms: { limitPico, atLimit: "refuse_new" }, openedBy: actor }
    })
  }
}
