import { Schema } from "effect"
import { AskId, Principal, ProviderName, WorkspaceName } from "./ids.ts"
import { Count, Digest, EpochMillis, Millis, PicoDollars } from "./quantities.ts"
import { kind } from "./story.ts"

/** The price of one thing. Time is priced per second and counted in whole milliseconds. */
export const Price = Schema.Struct({
  priceId: Schema.NonEmptyString,
  sku: Schema.NonEmptyString,
  unit: Schema.Literals(["second", "core_second", "mebibyte_second", "gpu_second", "mebibyte", "piece"]),
  picoPerUnit: PicoDollars,
  /** Less than this is billed as this. */
  billedMsMin: Millis,
  /** Only whole steps of this length are billed. */
  billedStepMs: Millis
})
export type Price = typeof Price.Type

/** Prices from a moment on. A book is never changed: another version takes its place. */
export const PriceBook = Schema.Struct({
  book: Schema.NonEmptyString,
  version: Count,
  /** What we charge, or what a provider charges us. */
  side: Schema.Literals(["sell", "buy"]),
  provider: Schema.optionalKey(ProviderName),
  /** Prices agreed with one workspace, over those of the book without one. */
  workspace: Schema.optionalKey(WorkspaceName),
  currency: Schema.String.pipe(Schema.check(Schema.isPattern(/^[A-Z]{3}$/u))),
  effectiveFromMs: EpochMillis,
  prices: Schema.Array(Price)
})
export type PriceBook = typeof PriceBook.Type

/** What is used from `effectiveFromMs` on costs this much. Usage is priced by when it was used. */
export const PriceBookPublished = Schema.TaggedStruct("PriceBookPublished", {
  priceBook: PriceBook,
  /** Over the book's canonical form. */
  digest: Digest,
  publishedBy: Principal,
  answers: Schema.optionalKey(AskId)
})
export type PriceBookPublished = typeof PriceBookPublished.Type

/** What things cost in this cell. */
export const pricebook = kind(
  { kind: "pricebook", scope: "cell", only: "cell", stream: "METERING" },
  PriceBookPublished
)
