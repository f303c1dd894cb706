import { deriveId } from "@millrace/decider"
import type { Round } from "@millrace/journal"
import type { AccountId, Principal, SliceId, SliceRecalled } from "@millrace/schemas"
import { type Account, freeOf, isFrozen, type Ledger, lineOf, type Slice } from "./ledger.ts"
import type { Saying } from "./saying.ts"

/** Who places work, and so whom money is lent to. */
const holder = "service:scheduler" as Principal
/** An account with no more than this (a dollar) is lent whole: parts of it would be too small for a job. */
const sliceMinPico = 1_000_000_000_000n
/** More slices than this of one account are so small that they are called back and lent again as one. */
const slicesMax = 8

/**
 * Lends ahead of need, so that no placement waits for us: when less than half of what was lent last is still free,
 * another slice follows, of half of what is left shared among the accounts of the tree. What a waiting job wants is
 * lent at once; where it is there but in parts, these are called back first. What is lent and committed never
 * exceeds the limit of the account or of any above it.
 */
export const lend = (ledger: Ledger, round: Round, saying: Saying): void => {
  const lending = new Lending(ledger, round, saying)
  const wants = wantsOf(ledger)
  for (const account of byId(ledger.accounts.values())) {
    if (isFrozen(ledger, account.workspace)) continue
    lending.giveBack(account)
    if (isClosing(ledger, account, round.atMs)) lending.recallAll(account, "closing")
    else if (lending.availableTo(account) < 0n) lending.recallAll(account, "limit_lowered")
    else lending.serve(account, wants)
  }
}

/** When time alone would let something be said: an account closes by itself. */
export const closesAtMs = (ledger: Ledger): number | undefined => {
  let due: number | undefined
  for (const account of ledger.accounts.values()) {
    if (account.closesAtMs === undefined || isFrozen(ledger, account.workspace)) continue
    const open = [...ledger.accounts.values()].some((other) => lineOf(ledger, other.id).includes(account) && unrecalled(other).length > 0)
    if (open) due = due === undefined ? account.closesAtMs : Math.min(due, account.closesAtMs)
  }
  return due
}

/** The largest want of each account: one placement needs it whole. */
const wantsOf = ({ wants }: Ledger): ReadonlyMap<AccountId, bigint> => {
  const largest = new Map<AccountId, bigint>()
  for (const { account, needsPico } of wants.values()) if (needsPico > (largest.get(account) ?? 0n)) largest.set(account, needsPico)
  return largest
}

const isClosing = (ledger: Ledger, account: Account, atMs: number): boolean =>
  lineOf(ledger, account.id).some(({ closesAtMs }) => closesAtMs !== undefined && closesAtMs <= atMs)

const unrecalled = ({ slices }: Account): ReadonlyArray<Slice> => byId([...slices.values()].filter(({ recalledAt }) => recalledAt === undefined))

const byId = <T extends { readonly id: string }>(things: Iterable<T>): ReadonlyArray<T> =>
  [...things].sort((left, right) => (left.id < right.id ? -1 : 1))

const most = (left: bigint, right: bigint): bigint => (left > right ? left : right)
const least = (left: bigint, right: bigint): bigint => (left < right ? left : right)
const sum = (amounts: ReadonlyArray<bigint>): bigint => amounts.reduce((total, amount) => total + amount, 0n)

/** One round of lending. The ledger is not touched: what is said in the round is counted beside it. */
class Lending {
  readonly #ledger: Ledger
  readonly #round: Round
  readonly #saying: Saying
  /** What this round has lent, on the account and on every one above it. */
  readonly #lent = new Map<AccountId, bigint>()
  readonly #recalled = new Set<SliceId>()
  readonly #told = new Set<AccountId>()
  #slices = 0

  constructor(ledger: Ledger, round: Round, saying: Saying) {
    this.#ledger = ledger
    this.#round = round
    this.#saying = saying
  }

  /** What can still be lent: the least that any account from here to the root has left. Below 0 where a limit was lowered. */
  availableTo(account: Account): bigint {
    return lineOf(this.#ledger, account.id)
      .map((one) => one.limitPico - one.usedPico - (this.#lent.get(one.id) ?? 0n))
      .reduce(least)
  }

  /** Takes back what is free of a slice that was called back, once its holder is known to have heard so. */
  giveBack(account: Account): void {
    for (const slice of byId(account.slices.values())) {
      const free = freeOf(this.#ledger, slice)
      if (slice.recalledAt === undefined || this.#ledger.heardByScheduler < slice.recalledAt || free === 0n) continue
      this.#say(account, { _tag: "SliceReturned", ...inAccount(account), slice: slice.id, amountPico: free, cause: "recalled" })
    }
  }

  recallAll(account: Account, cause: SliceRecalled["cause"]): void {
    for (const slice of unrecalled(account)) this.#recall(slice, cause)
  }

  serve(account: Account, wants: ReadonlyMap<AccountId, bigint>): void {
    const slices = unrecalled(account)
    const free = slices.map((slice) => freeOf(this.#ledger, slice))
    const largest = free.reduce(most, 0n)
    const want = wants.get(account.id)
    const available = most(0n, this.availableTo(account))
    if (want !== undefined && largest < want) {
      if (available >= want) return this.#lease(account, most(want, this.#share(account, available)), available)
      if (this.#gather(account, want - available, wants)) return
    }
    if (slices.length > slicesMax) return this.#recall(byFree(this.#ledger, slices)[0]!, "needed_elsewhere")
    const short = slices.length === 0 || sum(free) * 2n < account.lastLentPico
    if (short && available > 0n) return this.#lease(account, this.#share(account, available), available)
    if (available === 0n && !account.exhausted && !this.#isReturning(account) && (largest === 0n || (want !== undefined && largest < want))) this.#exhausted(account)
  }

  /** What one slice should be: half of what is left, among as many as may want of it. */
  #share(account: Account, available: bigint): bigint {
    const root = lineOf(this.#ledger, account.id).at(-1)
    const spenders = [...this.#ledger.accounts.values()].filter((other) => lineOf(this.#ledger, other.id).at(-1) === root).length
    return least(available, most(sliceMinPico, available / BigInt(2 * spenders)))
  }

  /** Calls back what is free in parts here, then elsewhere in the tree, if together it is enough; or waits for what was called back. */
  #gather(account: Account, missing: bigint, wants: ReadonlyMap<AccountId, bigint>): boolean {
    const own = unrecalled(account)
    const tree = lineOf(this.#ledger, account.id)
    const elsewhere = byId(this.#ledger.accounts.values())
      .filter((other) => other !== account && !wants.has(other.id) && other.workspace === account.workspace && lineOf(this.#ledger, other.id).at(-1) === tree.at(-1))
      .flatMap(unrecalled)
    // Only what would come back below this account's own limit helps it.
    const ownLeft = account.limitPico - account.usedPico + sum([...account.slices.values()].map((slice) => freeOf(this.#ledger, slice)))
    if (this.#isReturning(account)) return true
    const want = wants.get(account.id) ?? 0n
    if (ownLeft < want) return false
    const chosen: Array<Slice> = []
    let found = 0n
    for (const slice of [...own, ...elsewhere]) {
      const free = freeOf(this.#ledger, slice)
      if (found >= missing || free === 0n) continue
      chosen.push(slice)
      found += free
    }
    if (found < missing) return false
    for (const slice of chosen) this.#recall(slice, "needed_elsewhere")
    return true
  }

  /** Whether something that was called back in this tree has still to come back. */
  #isReturning(account: Account): boolean {
    const root = lineOf(this.#ledger, account.id).at(-1)
    return [...this.#ledger.index.slices.values()].some((slice) =>
      (slice.recalledAt !== undefined || this.#recalled.has(slice.id)) && freeOf(this.#ledger, slice) > 0n && lineOf(this.#ledger, slice.account).at(-1) === root)
  }

  #lease(account: Account, wanted: bigint, available: bigint): void {
    const { atMs, epoch, saw } = this.#round
    const amountPico = least(wanted, available)
    const slice = deriveId<SliceId>("slc", atMs, account.id, epoch, saw["METERING"] ?? 0, this.#slices)
    this.#slices += 1
    for (const one of lineOf(this.#ledger, account.id)) this.#lent.set(one.id, (this.#lent.get(one.id) ?? 0n) + amountPico)
    this.#say(account, { _tag: "SliceLeased", ...inAccount(account), slice, holder, amountPico, availablePico: available - amountPico })
  }

  #recall(slice: Slice, cause: SliceRecalled["cause"]): void {
    const account = this.#ledger.accounts.get(slice.account)
    if (account === undefined || this.#recalled.has(slice.id)) return
    this.#recalled.add(slice.id)
    this.#say(account, { _tag: "SliceRecalled", ...inAccount(account), slice: slice.id, cause })
  }

  /** Says it of the account, and of those above it whose limits are reached. */
  #exhausted(account: Account): void {
    for (const one of lineOf(this.#ledger, account.id)) {
      const isFull = one.limitPico - one.usedPico - (this.#lent.get(one.id) ?? 0n) <= 0n
      if (one.exhausted || this.#told.has(one.id) || (one !== account && !isFull)) continue
      this.#told.add(one.id)
      this.#say(one, {
        _tag: "BudgetExhausted",
        ...inAccount(one),
        limitPico: one.limitPico,
        committedPico: one.committedPico,
        lentPico: one.usedPico - one.committedPico
      })
    }
  }

  #say(account: Account, event: Parameters<Saying["say"]>[1]["event"]): void {
    this.#saying.say(storyOf(account), { event, partOf: account.story })
  }
}

const inAccount = ({ id, workspace }: Account) => ({ workspace, account: id })

/** Where an account's story is told. */
export const storyOf = ({ id, workspace }: Pick<Account, "id" | "workspace">) => ({ kind: "budget", scope: workspace, story: id })

const byFree = (ledger: Ledger, slices: ReadonlyArray<Slice>): ReadonlyArray<Slice> =>
  [...slices].sort((left, right) => {
    const difference = freeOf(ledger, left) - freeOf(ledger, right)
    return difference < 0n ? -1 : difference > 0n ? 1 : left.id < right.id ? -1 : 1
  })
