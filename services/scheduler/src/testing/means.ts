import { accountOfWorkspace } from "@millrace/authority"
import {
  type AccountId,
  type ActionPattern,
  type Constraints,
  type Digest,
  GrantId,
  type MillFact,
  type PlacementMade,
  Principal,
  type ResourcePattern,
  SliceId,
  type SliceId as Slice
} from "@millrace/schemas"
import { workspace } from "./cell.ts"

export const grant = (name: string): GrantId => GrantId.make(`grt_${name.toUpperCase().padStart(26, "0")}`)
export const slice = (name: string): Slice => SliceId.make(`slc_${name.toUpperCase().padStart(26, "0")}`)
export const agent = "agent:worker"

const reach = (constraints: Constraints, expiresAtMs: number, depthMax: number) => ({
  actions: ["job.*" as ActionPattern], resources: ["workspace/acme/*" as ResourcePattern], constraints, notBeforeMs: 0, expiresAtMs, depthMax
})

/** The workspace acme with its owner: whoever is to issue grants there. */
export const opened: ReadonlyArray<MillFact> = [
  { _tag: "WorkspaceOpened", workspace: workspace("acme"), organisation: "acme", owner: Principal.make("user:ada") },
  { _tag: "RoleBound", workspace: workspace("acme"), principal: Principal.make("user:ada"), role: "owner", boundBy: Principal.make("user:ada") }
]

export const issued = (name: string, constraints: Constraints = {}, expiresAtMs = 1e12): MillFact => ({
  _tag: "GrantIssued", workspace: workspace("acme"), tree: grant(name), grantId: grant(name), holder: Principal.make(agent), issuer: Principal.make("user:ada"),
  reach: reach(constraints, expiresAtMs, 3), durable: false, reason: "as it says"
})

export const delegated = (name: string, parent: string, constraints: Constraints = {}): MillFact => ({
  _tag: "GrantDelegated", workspace: workspace("acme"), tree: grant(parent), grantId: grant(name), parent: grant(parent), depth: 1,
  holder: Principal.make(agent), issuer: Principal.make(agent), reach: reach(constraints, 1e12, 2), reason: "as it says"
})

export const revoked = (name: string): MillFact => ({
  _tag: "GrantRevoked", workspace: workspace("acme"), tree: grant(name), grantId: grant(name), revokedBy: Principal.make("user:ada"), cause: "asked", below: 0
})

export const suspended = (name: string): MillFact => ({
  _tag: "GrantSuspended", workspace: workspace("acme"), tree: grant(name), grantId: grant(name), suspendedBy: Principal.make("user:ada"), cause: "asked"
})

export const resumed = (name: string): MillFact => ({
  _tag: "GrantResumed", workspace: workspace("acme"), tree: grant(name), grantId: grant(name), resumedBy: Principal.make("user:ada"), cause: "asked"
})

/** A core costs 1000 pico-dollars a second, and nothing else does: a core for a minute is 60,000. */
export const priced: MillFact = {
  _tag: "PriceBookPublished",
  priceBook: {
    book: "plain", version: 1, side: "sell", currency: "USD", effectiveFromMs: 0,
    prices: [{ priceId: "core", sku: "cpu-core", unit: "core_second", picoPerUnit: 1_000n, billedMsMin: 0, billedStepMs: 1 }]
  },
  digest: `sha256:${"0".repeat(64)}` as Digest,
  publishedBy: Principal.make("service:metering")
}

export const account: AccountId = accountOfWorkspace(workspace("acme"))
const inAccount = { workspace: workspace("acme"), account }

export const budget: MillFact = { _tag: "BudgetOpened", ...inAccount, terms: { limitPico: 10_000_000n, atLimit: "refuse_new" }, openedBy: Principal.make("user:ada") }

export const lent = (name: string, amountPico: bigint): MillFact => ({
  _tag: "SliceLeased", ...inAccount, slice: slice(name), holder: Principal.make("service:scheduler"), amountPico, availablePico: 0n
})

export const recalled = (name: string): MillFact => ({ _tag: "SliceRecalled", ...inAccount, slice: slice(name), cause: "needed_elsewhere" })

/** What metering says of an attempt that is over: its cost, once. */
export const cost = ({ attempt, attemptId, jobId, share }: PlacementMade, amountPico: bigint): MillFact => ({
  _tag: "SpendCommitted", ...inAccount, slice: share!.slice, jobId, attempt, attemptId, amountPico, settledBy: `fct_${"0".repeat(26)}` as never
})
