import { Schema } from "effect"
import { Count, Sequence } from "./quantities.ts"

/**
 * A read position over the whole log: the last sequence per stream. A stream that is not named stands
 * before its first fact. Every write returns one; `--after` and `--at` take one.
 */
export const Cut = Schema.Record(Schema.String, Sequence)
export type Cut = typeof Cut.Type

/** Who came later: restoring a backup raises the epoch, so (epoch, sequence) never goes back. */
export const Fence = Schema.Struct({ epoch: Count, sequence: Sequence })
export type Fence = typeof Fence.Type
