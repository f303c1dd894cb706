import { Schema } from "effect"
import { Constraints, Reach } from "./authority.ts"
import { BudgetTerms } from "./budget.ts"
import {
  AccountId, AskId, FactId, GrantId, HostId, ImageId, JobId, Principal, SnapshotId, WarrantId, WorkspaceName
} from "./ids.ts"
import { Allowed } from "./job.ts"
import { Period } from "./period.ts"
import { PriceBook } from "./pricebook.ts"
import { Role } from "./principal.ts"
import { BlobRef, Digest, EpochMillis, PicoDollars } from "./quantities.ts"
import { Priority, QuotaNodeName, QuotaTerms } from "./quota.ts"
import { Retention, SnapshotForm } from "./snapshot.ts"
import { kind } from "./story.ts"

/** Who asks, where, and why the gateway let the question through. The owner still decides the matter itself. */
const asking = { askId: AskId, workspace: WorkspaceName, askedBy: Principal, decision: Allowed }

/** Somebody asks for authority of a given reach. */
export const GrantAsked = Schema.TaggedStruct("GrantAsked", {
  ...asking,
  holder: Principal,
  reach: Reach,
  account: Schema.optionalKey(AccountId),
  reason: Schema.String
})
export type GrantAsked = typeof GrantAsked.Type

/** The holder of a grant asks to hand a part of it on. */
export const DelegationAsked = Schema.TaggedStruct("DelegationAsked", {
  ...asking,
  parent: GrantId,
  holder: Principal,
  reach: Reach,
  account: Schema.optionalKey(AccountId),
  reason: Schema.String
})
export type DelegationAsked = typeof DelegationAsked.Type

/** Somebody asks that a grant, and with it everything below it, rests until further notice. */
export const SuspensionAsked = Schema.TaggedStruct("SuspensionAsked", { ...asking, grantId: GrantId, cause: Schema.String })
export type SuspensionAsked = typeof SuspensionAsked.Type

/** Somebody asks that a resting grant holds again. */
export const ResumptionAsked = Schema.TaggedStruct("ResumptionAsked", { ...asking, grantId: GrantId, cause: Schema.String })
export type ResumptionAsked = typeof ResumptionAsked.Type

/** Somebody asks to end a grant, and with it everything below it, for good. */
export const RevocationAsked = Schema.TaggedStruct("RevocationAsked", { ...asking, grantId: GrantId, cause: Schema.String })
export type RevocationAsked = typeof RevocationAsked.Type

/** Somebody asks to end what one host may do for one attempt, or to narrow it when `narrowing` is there. */
export const WarrantChangeAsked = Schema.TaggedStruct("WarrantChangeAsked", {
  ...asking,
  warrantId: WarrantId,
  hostId: HostId,
  narrowing: Schema.optionalKey(Constraints),
  cause: Schema.String
})
export type WarrantChangeAsked = typeof WarrantChangeAsked.Type

/** A person has an opinion on a request that waits for approval. */
export const ApprovalVoted = Schema.TaggedStruct("ApprovalVoted", {
  ...asking,
  /** The `ApprovalAsked` that this answers. */
  approval: FactId,
  vote: Schema.Literals(["give", "withhold"]),
  reason: Schema.String
})
export type ApprovalVoted = typeof ApprovalVoted.Type

/** Somebody asks that a principal has a role. */
export const RoleAsked = Schema.TaggedStruct("RoleAsked", { ...asking, principal: Principal, role: Role })
export type RoleAsked = typeof RoleAsked.Type

/** Somebody asks that a principal has a role no more. */
export const RoleRemovalAsked = Schema.TaggedStruct("RoleRemovalAsked", { ...asking, principal: Principal, role: Role })
export type RoleRemovalAsked = typeof RoleRemovalAsked.Type

/**
 * Somebody asks that a bearer token stands for a principal. The gateway made it and showed it once;
 * only its digest is written down.
 */
export const CredentialAsked = Schema.TaggedStruct("CredentialAsked", {
  ...asking,
  principal: Principal,
  credentialDigest: Digest,
  grant: Schema.optionalKey(GrantId),
  expiresAtMs: EpochMillis
})
export type CredentialAsked = typeof CredentialAsked.Type

/** Somebody asks that a bearer token stands for nobody. */
export const CredentialRevocationAsked = Schema.TaggedStruct("CredentialRevocationAsked", {
  ...asking,
  credentialDigest: Digest,
  cause: Schema.String
})
export type CredentialRevocationAsked = typeof CredentialRevocationAsked.Type

/** Somebody asks for other guard-rails. The bundle's text lies in the blob store. */
export const PolicyAsked = Schema.TaggedStruct("PolicyAsked", {
  ...asking,
  bundle: BlobRef,
  /** The bundle that the asker saw; the answer is no when another one holds by then. */
  replaces: Schema.optionalKey(Digest),
  reason: Schema.String
})
export type PolicyAsked = typeof PolicyAsked.Type

/** Somebody asks that a host may enrol once with the key behind this digest, until `expiresAtMs`. */
export const EnrolmentAsked = Schema.TaggedStruct("EnrolmentAsked", {
  ...asking,
  oneTimeKeyDigest: Digest,
  expiresAtMs: EpochMillis
})
export type EnrolmentAsked = typeof EnrolmentAsked.Type

/** Somebody asks that a host belongs to the cell no more. */
export const DismissalAsked = Schema.TaggedStruct("DismissalAsked", { ...asking, hostId: HostId, cause: Schema.String })
export type DismissalAsked = typeof DismissalAsked.Type

/** Somebody asks for an account with a limit. */
export const BudgetAsked = Schema.TaggedStruct("BudgetAsked", { ...asking, account: AccountId, terms: BudgetTerms })
export type BudgetAsked = typeof BudgetAsked.Type

/** Somebody asks that an account has another limit. */
export const LimitAsked = Schema.TaggedStruct("LimitAsked", { ...asking, account: AccountId, limitPico: PicoDollars, reason: Schema.String })
export type LimitAsked = typeof LimitAsked.Type

/** Somebody asks for another price book. */
export const PriceBookAsked = Schema.TaggedStruct("PriceBookAsked", { ...asking, priceBook: PriceBook })
export type PriceBookAsked = typeof PriceBookAsked.Type

/** Somebody asks to close the books of a month. */
export const PeriodCloseAsked = Schema.TaggedStruct("PeriodCloseAsked", { ...asking, period: Period })
export type PeriodCloseAsked = typeof PeriodCloseAsked.Type

/** Somebody asks for a month's usage as a file. */
export const ExportAsked = Schema.TaggedStruct("ExportAsked", {
  ...asking,
  period: Period,
  format: Schema.Literals(["focus-parquet", "focus-csv", "cloudevents"])
})
export type ExportAsked = typeof ExportAsked.Type

/** Somebody asks that the state of a job is kept. */
export const SnapshotAsked = Schema.TaggedStruct("SnapshotAsked", {
  ...asking,
  jobId: JobId,
  form: SnapshotForm,
  retention: Retention
})
export type SnapshotAsked = typeof SnapshotAsked.Type

/** Somebody asks that a snapshot is kept no longer. */
export const SnapshotExpiryAsked = Schema.TaggedStruct("SnapshotExpiryAsked", { ...asking, snapshotId: SnapshotId, cause: Schema.String })
export type SnapshotExpiryAsked = typeof SnapshotExpiryAsked.Type

/** Somebody asks that jobs can start from an image. */
export const ImageAsked = Schema.TaggedStruct("ImageAsked", { ...asking, imageId: ImageId, reference: Schema.NonEmptyString })
export type ImageAsked = typeof ImageAsked.Type

/** Somebody asks that a workspace or a cohort is due so much; without `terms`, that nothing is said of it any more. */
export const QuotaAsked = Schema.TaggedStruct("QuotaAsked", { ...asking, node: QuotaNodeName, terms: Schema.optionalKey(QuotaTerms) })
export type QuotaAsked = typeof QuotaAsked.Type

/** Somebody asks that a job counts as more or less urgent than it was submitted. */
export const PriorityAsked = Schema.TaggedStruct("PriorityAsked", { ...asking, jobId: JobId, priority: Priority })
export type PriorityAsked = typeof PriorityAsked.Type

/**
 * What people ask of the services behind the gateway. Each ask ends in exactly one answer of its owner
 * that carries `answers: askId`: the fact that was asked for, or `AskRefused`, or `AskFoundDone`.
 */
export const ask = kind(
  { kind: "ask", scope: "workspace", stream: "GATEWAY" },
  GrantAsked,
  DelegationAsked,
  SuspensionAsked,
  ResumptionAsked,
  RevocationAsked,
  WarrantChangeAsked,
  ApprovalVoted,
  RoleAsked,
  RoleRemovalAsked,
  CredentialAsked,
  CredentialRevocationAsked,
  PolicyAsked,
  EnrolmentAsked,
  DismissalAsked,
  BudgetAsked,
  LimitAsked,
  PriceBookAsked,
  PeriodCloseAsked,
  ExportAsked,
  SnapshotAsked,
  SnapshotExpiryAsked,
  ImageAsked,
  QuotaAsked,
  PriorityAsked
)
