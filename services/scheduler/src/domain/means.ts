import type { Link } from "@millrace/authority"
import type { BudgetShare } from "@millrace/schemas"
import { amountsOf, multiplied } from "./fair/amounts.ts"
import type { OverQuota } from "./fair/tree.ts"
import { gangOf } from "./gangs.ts"
import type { Holding, Short } from "./holding.ts"
import { linksFor, overLimit } from "./permits.ts"
import type { Purse } from "./purse.ts"
import { dimensionOf, modelOf, nodeOf, overInWords } from "./quotas.ts"
import { gpuMilliOf } from "./resources.ts"
import { tasksOf } from "./tasks.ts"
import type { JobState, World } from "./world.ts"

/** What stands behind each piece that begins; or what is short of it; or that it may never be had. */
export type Backed =
  | { readonly _tag: "Backed"; readonly shares: ReadonlyArray<BudgetShare | undefined> }
  | { readonly _tag: "Short"; readonly short: Short }
  | Extract<ReturnType<typeof overLimit>, { readonly _tag: "Never" }>

/** What money, grants and quotas let begin in one round, whatever room there is. */
export class Means {
  readonly #world: World
  readonly #purse: Purse
  readonly #holding: Holding
  readonly #begins: (job: JobState) => boolean

  /** `begins` says of a job whether nothing of it was begun yet, in this round or before. */
  constructor(world: World, purse: Purse, holding: Holding, begins: (job: JobState) => boolean) {
    this.#world = world
    this.#purse = purse
    this.#holding = holding
    this.#begins = begins
  }

  /** What money, its grant's limits and what has been counted under them say to so many pieces that begin together. All of them but the last are taken. */
  back(job: JobState, links: ReadonlyArray<Link>, pieces: number): Backed {
    const gpuMilli = gpuMilliOf(job.submitted!.fact.spec.resources)
    const shares: Array<BudgetShare | undefined> = []
    while (shares.length < pieces) {
      const share = this.#purse.shareFor(job)
      if (share !== undefined && "reason" in share) return { _tag: "Short", short: share }
      const first = this.#begins(job) && shares.length === 0
      const over = overLimit(job, links, share?.amountPico ?? 0n, this.#purse, first)
      if (over?._tag === "Never") return over
      if (over?._tag === "Waits") {
        const arithmetic = pieces === 1 ? over.arithmetic : `${over.arithmetic}; its ${pieces} members begin together`
        return { _tag: "Short", short: { reason: over.reason, unblockedBy: over.reason === "budget" ? "budget" : "quota", arithmetic } }
      }
      shares.push(share)
      if (shares.length < pieces) this.#purse.take(links, share, { begins: first ? tasksOf(job) : 0, gpuMilli })
    }
    return { _tag: "Backed", shares }
  }

  /** What is short for the next piece of a job before any host is looked at; or that its grant never allows it. */
  shortOf(job: JobState): Short | "never" | undefined {
    const pieces = gangOf(job)?.members ?? 1
    const back = pieces > 1 ? this.#purse.mark() : undefined
    const backed = this.back(job, linksFor(this.#world, job), pieces)
    back?.()
    if (backed._tag !== "Backed") return backed._tag === "Short" ? backed.short : "never"
    const beyond = this.overQuota(job, pieces)
    return beyond === undefined ? undefined : beyondQuota(beyond)
  }

  /** What its workspace's quota does not give of so many pieces, whatever model of GPU they would have. */
  overQuota(job: JobState, pieces: number): OverQuota | undefined {
    const { spec: { resources }, workspace } = job.submitted!.fact
    return this.#holding.within(job, () => this.#holding.ledger.over(nodeOf(workspace), multiplied(amountsOf(resources), pieces)))
  }

  /** The models of GPU of which its workspace's quota does not give so many pieces of a job: it has others that it would take. */
  fullModels(job: JobState, pieces: number): ReadonlyArray<string> {
    const { spec: { resources }, workspace } = job.submitted!.fact
    const milli = gpuMilliOf(resources) * pieces
    const { ledger } = this.#holding
    const node = nodeOf(workspace)
    if (milli === 0) return []
    return this.#holding.within(job, () => [...ledger.tree.limitedFor(node)].flatMap((dimension) => {
      const model = modelOf(dimension)
      return model !== undefined && ledger.available(node, dimension) < milli ? [model] : []
    }))
  }

  /** What of the first of these models its quota does not give. */
  overModel(job: JobState, models: ReadonlySet<string>, pieces: number): OverQuota | undefined {
    const { spec: { resources }, workspace } = job.submitted!.fact
    const amounts = new Map([...models].map((model) => [dimensionOf(model), gpuMilliOf(resources) * pieces]))
    return this.#holding.within(job, () => this.#holding.ledger.over(nodeOf(workspace), amounts))
  }
}

export const beyondQuota = (over: OverQuota): Short => ({ reason: "quota", unblockedBy: "quota", arithmetic: overInWords(over), fair: "quota" })
