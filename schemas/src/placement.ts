import { Schema } from "effect"
import { Constraints } from "./authority.ts"
import { Cut, Fence } from "./cut.ts"
import { JobSpec } from "./job.ts"
import { AccountId, AttemptId, GrantId, HostId, JobId, Principal, SliceId, SnapshotId, WarrantId, WorkspaceName } from "./ids.ts"
import { Priority } from "./quota.ts"
import { BlobRef, Count, EpochMillis, PicoDollars, Resources } from "./quantities.ts"
import { kind } from "./story.ts"

/**
 * What a host may do for one attempt. The scheduler signs it (Ed25519 over the canonical form), the
 * host checks it against the cell's key before it touches anything.
 */
export const Warrant = Schema.Struct({
  warrantId: WarrantId,
  hostId: HostId,
  jobId: JobId,
  attempt: Count,
  fence: Fence,
  resources: Resources,
  /** The numbers of the devices that the attempt may use. */
  gpus: Schema.optionalKey(Schema.Array(Count)),
  /** From the root of the delegation to the grant that was used. Empty for the owner's own work. */
  grantPath: Schema.Array(GrantId),
  expiresAtMs: EpochMillis,
  /** What the scheduler had seen of access when it allowed this. */
  view: Cut,
  /**
   * The bearer of the warrant speaks in this workspace as this principal, under the last grant of the path,
   * no further than `constraints`: what the program inside may ask of us. Without them it may ask nothing.
   */
  workspace: Schema.optionalKey(WorkspaceName),
  holder: Schema.optionalKey(Principal),
  constraints: Schema.optionalKey(Constraints),
  attemptId: Schema.optionalKey(AttemptId),
  task: Schema.optionalKey(Count)
})
export type Warrant = typeof Warrant.Type

/** A slice's share that stands behind one attempt. */
export const BudgetShare = Schema.Struct({
  account: AccountId,
  slice: SliceId,
  amountPico: PicoDollars
})
export type BudgetShare = typeof BudgetShare.Type

/**
 * A member's place in its gang. All members are placed together, in one atomic batch; `addresses` says where each is
 * found, in the order of ranks, and is the same for all.
 */
export const GangPlace = Schema.Struct({
  rank: Count,
  members: Count,
  addresses: Schema.Array(Schema.NonEmptyString),
  /**
   * The members' own network: `id` names it, and is another one each time that they begin; `hosts` says where each
   * member's host takes the network's datagrams, as `address:port` in the order of ranks, and as the host's id where
   * all members share it. Its key is in no fact: each host derives it from the workspace's own.
   */
  network: Schema.optionalKey(Schema.Struct({ id: AttemptId, hosts: Schema.Array(Schema.NonEmptyString) }))
})
export type GangPlace = typeof GangPlace.Type

/** This host runs this attempt. Its capacity counts as taken until it has exited or the host is lost. */
export const PlacementMade = Schema.TaggedStruct("PlacementMade", {
  jobId: JobId,
  workspace: WorkspaceName,
  hostId: HostId,
  /** Of an array: which of its tasks. */
  task: Schema.optionalKey(Count),
  attempt: Count,
  attemptId: AttemptId,
  fence: Fence,
  spec: JobSpec,
  warrant: Warrant,
  /** base64url, over the warrant's canonical form. Not part of the decision: the key is not in the log. */
  signature: Schema.String,
  snapshot: Schema.optionalKey(SnapshotId),
  /** What it starts from: the snapshot, and the bytes that the host verifies before it unpacks them. */
  from: Schema.optionalKey(Schema.Struct({ snapshotId: SnapshotId, blob: BlobRef })),
  share: Schema.optionalKey(BudgetShare),
  /** The numbers of its devices: as many as it asked whole ones of, or the one that it has a part of. */
  gpus: Schema.optionalKey(Schema.Array(Count)),
  /** The model of its devices, where it is known: what counts against quotas of that model. */
  gpuModel: Schema.optionalKey(Schema.NonEmptyString),
  /** Of a gang: which of its members it is, and where each of them is found, in the order of ranks. */
  gang: Schema.optionalKey(GangPlace),
  /** Why this host, in words. */
  reason: Schema.String
})
export type PlacementMade = typeof PlacementMade.Type

/** The attempt may spend more. */
export const SliceExtended = Schema.TaggedStruct("SliceExtended", {
  jobId: JobId,
  workspace: WorkspaceName,
  hostId: HostId,
  attempt: Count,
  share: BudgetShare
})
export type SliceExtended = typeof SliceExtended.Type

/** The host is to end this attempt, or not to begin it. */
export const PlacementWithdrawn = Schema.TaggedStruct("PlacementWithdrawn", {
  jobId: JobId,
  workspace: WorkspaceName,
  hostId: HostId,
  task: Schema.optionalKey(Count),
  attempt: Count,
  attemptId: AttemptId,
  fence: Fence,
  cause: Schema.Literals(["cancelled", "timed_out", "preempted", "host_lost", "budget", "revoked", "settled"]),
  /** Of what gives way: for whom. */
  by: Schema.optionalKey(Schema.Struct({ jobId: JobId, workspace: WorkspaceName, priority: Priority })),
  /** By what right, in words that `millrace why` can show. */
  why: Schema.optionalKey(Schema.String)
})
export type PlacementWithdrawn = typeof PlacementWithdrawn.Type

/** What one host is to run: all that a host hears from the scheduler. */
export const placement = kind(
  { kind: "placement", scope: "host", stream: "SCHEDULER" },
  PlacementMade,
  SliceExtended,
  PlacementWithdrawn
)
