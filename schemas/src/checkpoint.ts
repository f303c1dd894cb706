import { Schema } from "effect"
import { Cut } from "./cut.ts"
import { Count, Digest } from "./quantities.ts"
import { kind } from "./story.ts"

/**
 * The log up to this cut is sealed: nobody can change, drop, swap or double a fact in it unnoticed.
 * Written only when the tree has grown.
 *
 * Source of the tree and its proofs: RFC 6962, section 2.
 */
export const CheckpointSigned = Schema.TaggedStruct("CheckpointSigned", {
  /** Whose tree it is. Two checkpoints of one origin and size with different roots are proof of foul play. */
  origin: Schema.NonEmptyString,
  treeSize: Count,
  root: Digest,
  upTo: Cut,
  keyId: Schema.NonEmptyString,
  /** Ed25519 over the checkpoint's canonical form, in base64url. */
  signature: Schema.String
})
export type CheckpointSigned = typeof CheckpointSigned.Type

/** Seals of the cell's log. */
export const checkpoint = kind(
  { kind: "checkpoint", scope: "cell", only: "cell", stream: "ACCESS" },
  CheckpointSigned
)
