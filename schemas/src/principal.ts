import { Schema } from "effect"
import { AskId, GrantId, Principal, WorkspaceName } from "./ids.ts"
import { Digest, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/**
 * What a person or a service may do of itself, and which grants it may issue. An agent has no role:
 * every action of an agent names a grant. `operator` is a role of the cell: it counts in the workspace that the cell began
 * with, and nowhere else.
 */
export const Role = Schema.Literals([
  "owner", "manager", "member", "viewer", "contributor", "billing_viewer", "auditor", "approver", "service", "operator"
])
export type Role = typeof Role.Type

/** The workspace exists, and its first owner needed nobody's leave. It happens once. */
export const WorkspaceOpened = Schema.TaggedStruct("WorkspaceOpened", {
  workspace: WorkspaceName,
  organisation: Schema.NonEmptyString,
  owner: Principal
})
export type WorkspaceOpened = typeof WorkspaceOpened.Type

/** From here on, what is sealed in this workspace is sealed under this key. Older keys still open. */
export const WorkspaceKeyTurned = Schema.TaggedStruct("WorkspaceKeyTurned", {
  workspace: WorkspaceName,
  /** The key's name, as sealed fields carry it. The key is not in the log. */
  key: Schema.NonEmptyString
})
export type WorkspaceKeyTurned = typeof WorkspaceKeyTurned.Type

/** The key is gone, and with it whatever was sealed under it, in every copy of the log. */
export const WorkspaceKeyForgotten = Schema.TaggedStruct("WorkspaceKeyForgotten", {
  workspace: WorkspaceName,
  key: Schema.NonEmptyString,
  forgottenBy: Principal,
  cause: Schema.String
})
export type WorkspaceKeyForgotten = typeof WorkspaceKeyForgotten.Type

/** The principal has the role. */
export const RoleBound = Schema.TaggedStruct("RoleBound", {
  workspace: WorkspaceName,
  principal: Principal,
  role: Role,
  boundBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type RoleBound = typeof RoleBound.Type

/** The principal has the role no more. Grants that it issued by that role rest, unless marked durable. */
export const RoleUnbound = Schema.TaggedStruct("RoleUnbound", {
  workspace: WorkspaceName,
  principal: Principal,
  role: Role,
  unboundBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type RoleUnbound = typeof RoleUnbound.Type

/** Whoever shows the bearer token behind this digest speaks as the principal, until it expires. */
export const CredentialIssued = Schema.TaggedStruct("CredentialIssued", {
  workspace: WorkspaceName,
  principal: Principal,
  credentialDigest: Digest,
  /** The grant that every action under this token names, for agents. */
  grant: Schema.optionalKey(GrantId),
  expiresAtMs: EpochMillis,
  issuedBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type CredentialIssued = typeof CredentialIssued.Type

/** The bearer token behind this digest stands for nobody. */
export const CredentialRevoked = Schema.TaggedStruct("CredentialRevoked", {
  workspace: WorkspaceName,
  credentialDigest: Digest,
  revokedBy: Principal,
  cause: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type CredentialRevoked = typeof CredentialRevoked.Type

/** Who there is in a workspace, and what they may do of themselves. */
export const principal = kind(
  { kind: "principal", scope: "workspace", stream: "ACCESS" },
  WorkspaceOpened,
  WorkspaceKeyTurned,
  WorkspaceKeyForgotten,
  RoleBound,
  RoleUnbound,
  CredentialIssued,
  CredentialRevoked
)
