import { Schema } from "effect"
import { Cut } from "./cut.ts"
import { AskId, FactId, JobId, WorkspaceName } from "./ids.ts"
import { BlobRef, Count, Digest, PicoDollars } from "./quantities.ts"
import { kind } from "./story.ts"

/** A billing period: a calendar month in UTC, as `2026-11`. */
export const Period = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^[0-9]{4}-(0[1-9]|1[0-2])$/u)),
  Schema.brand("Period")
)
export type Period = typeof Period.Type

/** The books of the month are closed. What is found out later is a correction in a later month. */
export const PeriodClosed = Schema.TaggedStruct("PeriodClosed", {
  workspace: WorkspaceName,
  period: Period,
  rows: Count,
  totalPico: PicoDollars,
  /** Over the month's usage rows in their canonical form. */
  digest: Digest,
  /** Everything up to here is in it. */
  upTo: Cut,
  answers: Schema.optionalKey(AskId)
})
export type PeriodClosed = typeof PeriodClosed.Type

/** A closed month was wrong by this much. The difference is billed in `bookedIn`; the month itself stays. */
export const CorrectionMade = Schema.TaggedStruct("CorrectionMade", {
  workspace: WorkspaceName,
  period: Period,
  bookedIn: Period,
  jobId: Schema.optionalKey(JobId),
  /** The usage row that it corrects. */
  corrects: Digest,
  differencePico: PicoDollars,
  /** The late fact, or the price book, that showed it. */
  because: FactId,
  cause: Schema.Literals(["late_fact", "price_book", "double", "lost_part"])
})
export type CorrectionMade = typeof CorrectionMade.Type

/** A month's usage is a file. Written again from the same facts it has the same bytes. */
export const ExportWritten = Schema.TaggedStruct("ExportWritten", {
  workspace: WorkspaceName,
  period: Period,
  format: Schema.Literals(["focus-parquet", "focus-csv", "cloudevents"]),
  /** The version of the format, such as `1.2`. */
  formatVersion: Schema.NonEmptyString,
  edition: Count,
  blob: BlobRef,
  rows: Count,
  totalPico: PicoDollars,
  upTo: Cut,
  answers: Schema.optionalKey(AskId)
})
export type ExportWritten = typeof ExportWritten.Type

/** A workspace's months. */
export const period = kind(
  { kind: "period", scope: "workspace", stream: "METERING" },
  PeriodClosed,
  CorrectionMade,
  ExportWritten
)
