import { Schema } from "effect"

/** What vitest writes about a run, as far as it is counted here. */
const Report = Schema.Struct({
  testResults: Schema.Array(Schema.Struct({
    name: Schema.String,
    status: Schema.String,
    assertionResults: Schema.Array(Schema.Struct({ status: Schema.String }))
  }))
})

export interface Tally {
  readonly passed: number
  /** Tests that failed, and files that did so before or beside their tests. */
  readonly failed: number
  /** Tests that were there and did not run. */
  readonly skipped: number
}

const decode = Schema.decodeUnknownSync(Report)

/** Counts a run from vitest's JSON report. Throws where the report has another shape. */
export const tally = (report: unknown): Tally => {
  const files = decode(report).testResults
  const statuses = files.flatMap((file) => file.assertionResults.map(({ status }) => status))
  const failed = statuses.filter((status) => status === "failed").length
  const passed = statuses.filter((status) => status === "passed").length
  const brokenFiles = files.filter((file) => file.status === "failed" && file.assertionResults.every(({ status }) => status !== "failed")).length
  return { passed, failed: failed + brokenFiles, skipped: statuses.length - passed - failed }
}
