import { digestOfBook, moneyText } from "@millrace/pricing"
import type { Round, SaidFact } from "@millrace/journal"
import type { AskRefused, BudgetAsked, LimitAsked, MillFact, PriceBookAsked, Subject } from "@millrace/schemas"
import { type Ask, isFrozen, type Ledger, lineOf } from "./ledger.ts"
import { storyOf } from "./lending.ts"
import type { Saying } from "./saying.ts"

/** How many accounts may stand above one another. */
const depthMax = 16

/**
 * Answers what people ask, each ask with exactly one fact that carries `answers`. One ask of a workspace a round,
 * because the next may mean something else behind it.
 */
export const answer = (ledger: Ledger, round: Round, saying: Saying): void => {
  const answeredHere = new Set<string>()
  for (const ask of [...ledger.asks.values()].sort((left, right) => (left.factId < right.factId ? -1 : 1))) {
    const { decision, workspace } = ask.ask
    // The gateway may have read further in what access says than we have: the workspace itself may lie there.
    if ((decision.view["ACCESS"] ?? 0) > (round.saw["ACCESS"] ?? 0) || answeredHere.has(workspace) || isFrozen(ledger, workspace)) continue
    answeredHere.add(workspace)
    const { event, subject } = answered(ledger, ask, round)
    saying.say(subject, { event, partOf: ask.partOf, causedBy: ask.factId } satisfies SaidFact)
  }
}

interface Answer {
  readonly subject: Subject
  readonly event: MillFact
}

const answered = (ledger: Ledger, ask: Ask, round: Round): Answer => {
  const { ask: asked } = ask
  switch (asked._tag) {
    case "BudgetAsked":
      return budget(ledger, asked, round)
    case "LimitAsked":
      return limit(ledger, asked)
    case "PriceBookAsked":
      return priceBook(ledger, asked, round)
    case "PeriodCloseAsked":
      return refused(asked, "invalid", "months are not closed in this release: every row stays open to late facts", "read the month's rows from /v1/usage, with from and to")
    case "ExportAsked":
      return refused(asked, "invalid", `usage is not written as ${asked.format} in this release`, "read the rows as JSON from /v1/usage, with from and to")
  }
}

const budget = (ledger: Ledger, asked: BudgetAsked, round: Round): Answer => {
  const { account, askId, askedBy, workspace } = asked
  const own = [...ledger.accounts.values()].find((one) => one.workspace === workspace && one.parent === undefined)
  const parent = ledger.accounts.get(asked.terms.parent ?? own?.id ?? account)
  const known = ledger.accounts.get(account)
  if (known !== undefined && known.workspace === workspace && known.limitPico === asked.terms.limitPico && known.parent === parent?.id) {
    return done(asked, `the account is there, with this limit of ${moneyText(known.limitPico)}`)
  }
  if (known !== undefined) return refused(asked, "overtaken", "an account of this id is there already, on other terms", "ask for another limit of it, or for an account of another id")
  if (parent === undefined || parent.workspace !== workspace) return refused(asked, "unknown", "the account that is to stand above it is not in this workspace", "name one that is, or none: it then stands below the workspace's own")
  if (lineOf(ledger, parent.id).length >= depthMax) return refused(asked, "invalid", `accounts stand at most ${depthMax} deep`, "name an account further up as its parent")
  if (asked.terms.limitPico < 0n) return refused(asked, "invalid", "a limit below nothing", "ask for a limit of 0 or more")
  if (asked.terms.limitPico > parent.limitPico) {
    return refused(asked, "wider_than_parent", `its limit of ${moneyText(asked.terms.limitPico)} is above the ${moneyText(parent.limitPico)} of the account above it`, "ask for a smaller limit, or first for a larger one above")
  }
  if (asked.terms.atLimit !== "refuse_new") {
    return refused(asked, "invalid", `what runs is never touched at a limit here, so "${asked.terms.atLimit}" cannot be promised`, "ask with atLimit refuse_new: no new work begins, and what runs was paid for when it was placed")
  }
  if (asked.terms.closesAtMs !== undefined && asked.terms.closesAtMs <= round.atMs) return refused(asked, "over", "the account would be closed before it opens", "ask with a later closesAtMs, or with none")
  return {
    subject: storyOf({ id: account, workspace }),
    event: { _tag: "BudgetOpened", workspace, account, terms: { ...asked.terms, parent: parent.id }, openedBy: askedBy, answers: askId }
  }
}

const limit = (ledger: Ledger, asked: LimitAsked): Answer => {
  const { account, askId, askedBy, limitPico, workspace } = asked
  const [known, parent] = lineOf(ledger, account)
  if (known === undefined || known.workspace !== workspace) return refused(asked, "unknown", "there is no such account in this workspace", "see those there are at /v1/budgets")
  if (limitPico < 0n) return refused(asked, "invalid", "a limit below nothing", "ask for a limit of 0 or more")
  if (known.limitPico === limitPico) return done(asked, `its limit is ${moneyText(limitPico)} already`)
  if (parent !== undefined && limitPico > parent.limitPico) {
    return refused(asked, "wider_than_parent", `${moneyText(limitPico)} is above the ${moneyText(parent.limitPico)} of the account above it`, "ask for a smaller limit, or first for a larger one above")
  }
  return { subject: storyOf(known), event: { _tag: "LimitChanged", workspace, account, limitPico, changedBy: askedBy, answers: askId } }
}

const priceBook = (ledger: Ledger, asked: PriceBookAsked, round: Round): Answer => {
  const { askId, askedBy, priceBook: book, workspace } = asked
  const digest = digestOfBook(book)
  const same = ledger.books.find((known) => known.book === book.book && known.version === book.version && known.side === book.side && known.workspace === book.workspace && known.provider === book.provider)
  if (same !== undefined && digestOfBook(same) === digest) return done(asked, `the book ${book.book}/${book.version} is published, with these prices`)
  if (same !== undefined) return refused(asked, "overtaken", `the book ${book.book}/${book.version} is published with other prices`, "a book is never changed: give it the next version")
  if (book.workspace !== undefined && book.workspace !== workspace) return refused(asked, "not_allowed", "prices agreed with one workspace are that workspace's matter", "ask in that workspace")
  if (book.currency !== "USD") return refused(asked, "invalid", `amounts are counted in US dollars, not in ${book.currency}`, "state the prices in USD")
  if (book.prices.some(({ picoPerUnit }) => picoPerUnit < 0n)) return refused(asked, "invalid", "a price below nothing", "state prices of 0 or more")
  if (new Set(book.prices.map(({ sku }) => sku)).size < book.prices.length) return refused(asked, "invalid", "one SKU has two prices", "state one price for each SKU")
  if (book.effectiveFromMs < round.atMs) return refused(asked, "invalid", "it would hold from a moment that is past, and what was used then has its price", "let it hold from a moment to come")
  return { subject: priceBooks, event: { _tag: "PriceBookPublished", priceBook: book, digest, publishedBy: askedBy, answers: askId } }
}

/** Where price books are told. */
export const priceBooks: Subject = { kind: "pricebook", scope: "cell" }

type Asked = Ask["ask"]

const answers = ({ workspace }: Asked): Subject => ({ kind: "answer", scope: "metering", story: workspace })

const refused = (asked: Asked, reason: AskRefused["reason"], detail: string, remedy: string): Answer => ({
  subject: answers(asked),
  event: { _tag: "AskRefused", answers: asked.askId, workspace: asked.workspace, reason, detail, remedy }
})

const done = (asked: Asked, detail: string): Answer => ({
  subject: answers(asked),
  event: { _tag: "AskFoundDone", answers: asked.askId, workspace: asked.workspace, detail }
})
