import { accountOf, type Link } from "@millrace/authority"
import { moneyText, priceOf, ratesAt, type Rates } from "@millrace/pricing"
import type { AccountId, BudgetShare, GrantId, JobDeferred, SliceId } from "@millrace/schemas"
import { freeOf, type Slice } from "./money.ts"
import type { Counted } from "./permits.ts"
import type { JobState, World } from "./world.ts"

type Short = Pick<JobDeferred, "reason" | "arithmetic" | "unblockedBy" | "budget">

/** Shares, uses and running attempts while a round is being decided. The world is not touched. */
export class Purse implements Counted {
  readonly #world: World
  readonly #atMs: number
  readonly #rates = new Map<string, Rates | undefined>()
  readonly #cut = new Map<SliceId, bigint>()
  readonly #promised = new Map<GrantId, bigint>()
  readonly #uses = new Map<GrantId, number>()
  readonly #running = new Map<GrantId, number>()
  readonly #gpuMilli = new Map<GrantId, number>()

  constructor(world: World, atMs: number) {
    this.#world = world
    this.#atMs = atMs
  }

  /** Remembers what is taken now; the answer puts it back to that. */
  mark(): () => void {
    const kept = [this.#cut, this.#promised, this.#uses, this.#running, this.#gpuMilli].map((map) => [map, [...map]] as const)
    return () => {
      for (const [map, entries] of kept) {
        map.clear()
        for (const [key, amount] of entries) (map as Map<unknown, unknown>).set(key, amount)
      }
    }
  }

  uses = (grant: GrantId): number => (this.#world.uses.get(grant) ?? 0) + (this.#uses.get(grant) ?? 0)
  running = (grant: GrantId): number => (this.#world.index.running.get(grant) ?? 0) + (this.#running.get(grant) ?? 0)
  gpuMilli = (grant: GrantId): number => (this.#world.index.runningGpuMilli.get(grant) ?? 0) + (this.#gpuMilli.get(grant) ?? 0)
  committedPico = (grant: GrantId): bigint => this.#world.money.spent.get(grant)?.committedPico ?? 0n
  promisedPico = (grant: GrantId): bigint => (this.#world.money.spent.get(grant)?.promisedPico ?? 0n) + (this.#promised.get(grant) ?? 0n)

  /** The share that one attempt of a job needs; none where its account was never opened; or why there is none. */
  shareFor(job: JobState): BudgetShare | Short | undefined {
    const { grant, spec: { resources, runMsMax }, workspace } = job.submitted!.fact
    const account = accountOf(this.#world.authority, workspace, grant)
    if (!this.#world.money.accounts.has(account)) return undefined
    const rates = this.#ratesOf(workspace)
    if (rates === undefined) return { reason: "budget", unblockedBy: "budget", arithmetic: `${account} has no price yet: no price book is in effect` }
    const amountPico = priceOf(rates, resources, runMsMax)
    let roomiest = 0n
    for (const slice of this.#world.money.byAccount.get(account) ?? []) {
      const free = this.#freeOf(slice)
      if (free >= amountPico) return { account, slice: slice.id, amountPico }
      if (free > roomiest) roomiest = free
    }
    return {
      reason: "budget",
      unblockedBy: "budget",
      arithmetic: `${account} must promise ${moneyText(amountPico)} for ${runMsMax} ms of this by ${rates.name}; the largest free part of a slice is ${moneyText(roomiest)}`,
      budget: { account, needsPico: amountPico }
    }
  }

  /** The most that one attempt could have of an account now. */
  mostFree(account: AccountId): bigint {
    let most = 0n
    for (const slice of this.#world.money.byAccount.get(account) ?? []) {
      const free = this.#freeOf(slice)
      if (free > most) most = free
    }
    return most
  }

  take(links: ReadonlyArray<Link>, share: BudgetShare | undefined, { begins, gpuMilli }: { readonly begins: number; readonly gpuMilli: number }): void {
    if (share !== undefined) this.#cut.set(share.slice, (this.#cut.get(share.slice) ?? 0n) + share.amountPico)
    for (const { grantId } of links) {
      this.#running.set(grantId, (this.#running.get(grantId) ?? 0) + 1)
      if (gpuMilli > 0) this.#gpuMilli.set(grantId, (this.#gpuMilli.get(grantId) ?? 0) + gpuMilli)
      if (begins > 0) this.#uses.set(grantId, (this.#uses.get(grantId) ?? 0) + begins)
      if (share !== undefined) this.#promised.set(grantId, (this.#promised.get(grantId) ?? 0n) + share.amountPico)
    }
  }

  #freeOf(slice: Slice): bigint {
    return freeOf(slice) - (this.#cut.get(slice.id) ?? 0n)
  }

  #ratesOf(workspace: Parameters<typeof ratesAt>[1]["workspace"]): Rates | undefined {
    if (!this.#rates.has(workspace)) this.#rates.set(workspace, ratesAt(this.#world.money.books, { workspace, atMs: this.#atMs }))
    return this.#rates.get(workspace)
  }
}
