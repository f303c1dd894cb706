import { Schema } from "effect"
import { Count, Sequence } from "./quantities.ts"

/**
 * A read position over the whole log: the last sequence per stream. A stream that is not named stands
 * before its first fact. Every write returns one; `--after` and `--at` take one.
 */
export const Cut = Schema.Record(Schema.String, Sequence)
export type Cut = typeof Cut.Type

const cutPattern = /^([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9})?$/u

/** A cut as it travels in a query: `GATEWAY=12,SCHEDULER=40`; empty for the place before every fact. */
export const CutText = Schema.String.pipe(Schema.check(Schema.isPattern(cutPattern))).annotate({
  description: "a read position: the last sequence of each stream, as every write and read returns it",
  examples: ["GATEWAY=12,SCHEDULER=40"]
})

/** A cut as it travels, its streams in the order of the alphabet. */
export const cutText = (cut: Cut): string =>
  Object.entries(cut).sort(([left], [right]) => (left < right ? -1 : 1)).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")

/** The cut that a text is; undefined where it is none. */
export const cutFrom = (text: string): Cut | undefined =>
  cutPattern.test(text)
    ? Object.fromEntries(text === "" ? [] : text.split(",").map((entry) => [entry.slice(0, entry.indexOf("=")), Number(entry.slice(entry.indexOf("=") + 1))]))
    : undefined

/** Who came later: restoring a backup raises the epoch, so (epoch, sequence) never goes back. */
export const Fence = Schema.Struct({ epoch: Count, sequence: Sequence })
export type Fence = typeof Fence.Type
