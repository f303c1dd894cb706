import { Schema } from "effect"

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
