import { Schema } from "effect"
import { AskId, HostId, Principal, WorkspaceName } from "./ids.ts"
import { Digest, EpochMillis } from "./quantities.ts"
import { kind } from "./story.ts"

/** One host may enrol with the key behind this digest, once, until it expires. */
export const EnrolmentOpened = Schema.TaggedStruct("EnrolmentOpened", {
  workspace: WorkspaceName,
  oneTimeKeyDigest: Digest,
  openedBy: Principal,
  expiresAtMs: EpochMillis,
  answers: Schema.optionalKey(AskId)
})
export type EnrolmentOpened = typeof EnrolmentOpened.Type

/** The host may speak: its key is known, its credentials are minted, its consumers exist. */
export const HostAdmitted = Schema.TaggedStruct("HostAdmitted", {
  hostId: HostId,
  /** The host's own public NKey (`U...`). The private half never left the host. */
  publicKey: Schema.String.pipe(Schema.check(Schema.isPattern(/^U[A-Z2-7]{55}$/u))),
  admittedBy: Principal,
  /** SHA-256 of the one-time key that was used up. */
  oneTimeKeyDigest: Schema.String
})
export type HostAdmitted = typeof HostAdmitted.Type

/** The host may speak no more: its credentials are revoked and its consumers are gone. */
export const HostDismissed = Schema.TaggedStruct("HostDismissed", {
  hostId: HostId,
  publicKey: Schema.String,
  dismissedBy: Principal,
  cause: Schema.String,
  answers: Schema.optionalKey(AskId)
})
export type HostDismissed = typeof HostDismissed.Type

/** Which hosts belong to the cell. */
export const admission = kind(
  { kind: "admission", scope: "cell", only: "cell", stream: "ACCESS" },
  EnrolmentOpened,
  HostAdmitted,
  HostDismissed
)
