import { Schema } from "effect"
import { Priced } from "./coreweave-prices.ts"

/** What a provider's entry says of a cluster, besides its endpoint and the file of its token. */
export const CoreWeaveSettings = Schema.Struct({
  /** Where the cluster is, such as US-EAST-04A. */
  region: Schema.NonEmptyString,
  /** Where our secrets and daemon sets lie. `millrace` where none is named; somebody has to make it. */
  namespace: Schema.optionalKey(Schema.NonEmptyString),
  /** The certificate of whoever signed the API server's: `certificate-authority` of a kubeconfig. */
  caFile: Schema.optionalKey(Schema.NonEmptyString),
  /** The image with our agent, and what is run in it where that is not its own entry. */
  image: Schema.NonEmptyString,
  command: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /** Which types the organisation may have here. All that have a price where none are named. */
  instanceTypes: Schema.optionalKey(Schema.Array(Schema.NonEmptyString)),
  /** Prices that were agreed, or of types that our list has not. */
  prices: Schema.optionalKey(Schema.Array(Priced)),
  /** A pool that waits for capacity is given up after so many seconds. */
  queuedSMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 86_400 })))
})
export type CoreWeaveSettings = typeof CoreWeaveSettings.Type

/**
 * The parts of CoreWeave's Kubernetes Service that we use, written from its pages "Node Pool reference"
 * (`compute.coreweave.com/v1alpha1`), "Node Pool status" and "Spot Node Pools" (docs.coreweave.com, 2026), and from
 * Kubernetes' API 1.35. Fields that we do not read are left out; unknown ones are passed over.
 */
export const poolsOf = { group: "compute.coreweave.com", version: "v1alpha1", plural: "nodepools" } as const

/** Which pool a node belongs to: CoreWeave's own label. */
export const poolLabel = "compute.coreweave.com/node-pool"
/** Ours, on everything that we make. */
export const cellLabel = "millrace-cell"
export const tokenLabel = "millrace-token"
export const sinceLabel = "millrace-since"
/** The one node that the lease was told of; nodes that come after it are not what was rented. */
export const nodeMark = "millrace-node"
/** From when that node costs money, in ms since 1970. */
export const nodeSinceMark = "millrace-node-since"
/** That node is gone, since this moment in ms: the pool wants none any more. */
export const endedMark = "millrace-ended"

const Texts = Schema.Record(Schema.String, Schema.String)

export const Condition = Schema.Struct({
  type: Schema.String,
  status: Schema.String,
  reason: Schema.optionalKey(Schema.String),
  message: Schema.optionalKey(Schema.String),
  lastTransitionTime: Schema.optionalKey(Schema.String)
})

export const NodePool = Schema.Struct({
  metadata: Schema.Struct({
    name: Schema.NonEmptyString,
    uid: Schema.NonEmptyString,
    resourceVersion: Schema.NonEmptyString,
    deletionTimestamp: Schema.optionalKey(Schema.String),
    labels: Schema.optionalKey(Texts),
    annotations: Schema.optionalKey(Texts)
  }),
  spec: Schema.Struct({
    computeClass: Schema.optionalKey(Schema.String),
    instanceType: Schema.NonEmptyString,
    targetNodes: Schema.optionalKey(Schema.Int)
  }),
  status: Schema.optionalKey(Schema.Struct({ conditions: Schema.optionalKey(Schema.Array(Condition)) }))
})
export type NodePool = typeof NodePool.Type

/** What we read of a node, whether it came through the typed client or not. */
export interface Node {
  readonly metadata?: { readonly name?: string; readonly uid?: string; readonly labels?: Readonly<Record<string, string>>; readonly creationTimestamp?: Date }
  readonly status?: { readonly conditions?: ReadonlyArray<{ readonly type: string; readonly status: string }> }
}

export const isReady = ({ status }: Node): boolean => status?.conditions?.some(({ status, type }) => type === "Ready" && status === "True") ?? false

/** The page writes the class both as `spot` and as `Spot`. */
export const isSpot = ({ spec }: NodePool): boolean => spec.computeClass?.toLowerCase() === "spot"

/** A condition of a pool that says no. */
export interface No {
  readonly about: "Validated" | "Quota" | "Capacity"
  readonly detail: string
  /** Since when, in ms since 1970. */
  readonly sinceMs: number | undefined
}

const abouts = ["Validated", "Quota", "Capacity"] as const

/** What stands in the way of a pool, the worst first. `Unknown` is no no. */
export const noOf = ({ status }: NodePool): No | undefined => {
  for (const about of abouts) {
    const found = status?.conditions?.find(({ status, type }) => type === about && status === "False")
    if (found === undefined) continue
    const sinceMs = Date.parse(found.lastTransitionTime ?? "")
    return { about, detail: [about, found.reason, found.message].filter(Boolean).join(": ").slice(0, 400), sinceMs: Number.isNaN(sinceMs) ? undefined : sinceMs }
  }
  return undefined
}
