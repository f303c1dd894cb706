import { Schema } from "effect"
import { HostId, Principal } from "./ids.ts"
import { kind } from "./story.ts"

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
  cause: Schema.String
})
export type HostDismissed = typeof HostDismissed.Type

/** Which hosts belong to the cell. */
export const admission = kind(
  { kind: "admission", scope: "cell", only: "cell", stream: "ACCESS" },
  HostAdmitted,
  HostDismissed
)
