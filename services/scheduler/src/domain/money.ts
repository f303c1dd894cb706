import { noBooks, type PriceBooks, publish } from "@millrace/pricing"
import type { AccountId, AttemptId, GrantId, MillFact, PlacementMade, SliceId } from "@millrace/schemas"

/** A part of an account that is lent to us. Nothing may be promised from one that was recalled. */
export interface Slice {
  readonly id: SliceId
  account: AccountId | undefined
  /** Undefined before it is lent and after it was returned: then nothing of it is free. */
  amountPico: bigint | undefined
  recalled: boolean
  committedPico: bigint
  promisedPico: bigint
}

/** What stands behind an attempt of which the cost is not known yet. */
export interface Promised {
  readonly slice: SliceId
  readonly amountPico: bigint
  readonly grantPath: ReadonlyArray<GrantId>
}

/** What was spent and is promised under one grant, those below it included. */
export interface Spent {
  committedPico: bigint
  promisedPico: bigint
}

/** Money as the scheduler knows it: what it was lent, what it has promised, what was used up. */
export interface Money {
  books: PriceBooks
  readonly accounts: Set<AccountId>
  /** In the order of lending. */
  readonly slices: Map<SliceId, Slice>
  readonly promised: Map<AttemptId, Promised>
  /** Costs that were heard before the placement that they are of. */
  readonly early: Map<AttemptId, bigint>
  readonly spent: Map<GrantId, Spent>
  /** Where in METERING a slice was called back last, and how far what we said had heard it: what is called back returns once we say something that has heard so. */
  recalledAt: number
  answeredAt: number
  /** Derived: the slices of an account, in the order of lending. */
  readonly byAccount: Map<AccountId, Set<Slice>>
}

export const emptyMoney = (): Money => ({
  books: noBooks,
  accounts: new Set(),
  slices: new Map(),
  promised: new Map(),
  early: new Map(),
  spent: new Map(),
  recalledAt: 0,
  answeredAt: 0,
  byAccount: new Map()
})

/** Takes in what metering said. Gives whether it was about money at all. */
export const evolveMoney = (money: Money, event: MillFact): boolean => {
  switch (event._tag) {
    case "PriceBookPublished":
      money.books = publish(money.books, event.priceBook)
      return true
    case "BudgetOpened":
      money.accounts.add(event.account)
      return true
    case "SliceLeased": {
      const slice = sliceOf(money, event.slice)
      // A share of it may have been heard before: its place is that of its lending all the same.
      money.slices.delete(slice.id)
      money.slices.set(slice.id, slice)
      slice.account = event.account
      slice.amountPico = event.amountPico
      const alike = money.byAccount.get(event.account) ?? new Set()
      money.byAccount.set(event.account, alike.add(slice))
      return true
    }
    case "SliceRecalled":
      sliceOf(money, event.slice).recalled = true
      return true
    case "SliceReturned": {
      const slice = sliceOf(money, event.slice)
      if (slice.account !== undefined) money.byAccount.get(slice.account)?.delete(slice)
      Object.assign(slice, { account: undefined, amountPico: undefined, committedPico: 0n, recalled: false })
      forgetIfDone(money, slice)
      return true
    }
    case "SpendCommitted": {
      const slice = money.slices.get(event.slice)
      if (slice?.amountPico !== undefined) slice.committedPico += event.amountPico
      const promised = money.promised.get(event.attemptId)
      if (promised === undefined) money.early.set(event.attemptId, event.amountPico)
      else {
        money.promised.delete(event.attemptId)
        settlePromise(money, promised, event.amountPico)
      }
      return true
    }
    default:
      return false
  }
}

/** A placement promises its share until its cost is known, and no more than once. */
export const promise = (money: Money, { attemptId, share, warrant: { grantPath } }: PlacementMade): void => {
  if (share === undefined) return
  const slice = sliceOf(money, share.slice)
  slice.promisedPico += share.amountPico
  for (const grant of grantPath) spentUnder(money, grant).promisedPico += share.amountPico
  const promised: Promised = { slice: share.slice, amountPico: share.amountPico, grantPath }
  const early = money.early.get(attemptId)
  if (early === undefined) {
    money.promised.set(attemptId, promised)
    return
  }
  money.early.delete(attemptId)
  settlePromise(money, promised, early)
}

const settlePromise = (money: Money, { amountPico, grantPath, slice: id }: Promised, costPico: bigint): void => {
  const slice = sliceOf(money, id)
  slice.promisedPico -= amountPico
  forgetIfDone(money, slice)
  for (const grant of grantPath) {
    const spent = spentUnder(money, grant)
    spent.promisedPico -= amountPico
    spent.committedPico += costPico
  }
}

export const spentUnder = (money: Money, grant: GrantId): Spent => {
  const known = money.spent.get(grant)
  if (known !== undefined) return known
  const spent: Spent = { committedPico: 0n, promisedPico: 0n }
  money.spent.set(grant, spent)
  return spent
}

/** What of a slice can still be promised. */
export const freeOf = ({ amountPico, committedPico, promisedPico, recalled }: Slice): bigint =>
  amountPico === undefined || recalled ? 0n : amountPico - committedPico - promisedPico

const sliceOf = (money: Money, id: SliceId): Slice => {
  const known = money.slices.get(id)
  if (known !== undefined) return known
  const slice: Slice = { id, account: undefined, amountPico: undefined, recalled: false, committedPico: 0n, promisedPico: 0n }
  money.slices.set(id, slice)
  return slice
}

const forgetIfDone = (money: Money, slice: Slice): void => {
  if (slice.amountPico === undefined && slice.promisedPico === 0n) money.slices.delete(slice.id)
}
