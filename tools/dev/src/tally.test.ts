import { assert, describe, it } from "vitest"
import { tally } from "./tally.ts"

const file = (status: string, ...tests: ReadonlyArray<string>) => ({ name: "a.test.ts", status, assertionResults: tests.map((status) => ({ status })) })

describe("the count of a test run", () => {
  it("is that of the tests in vitest's report", () =>
    assert.deepStrictEqual(tally({ testResults: [file("passed", "passed", "passed"), file("failed", "passed", "failed")] }), { passed: 3, failed: 1, skipped: 0 }))

  it("counts a file that could not be run as a failure", () =>
    assert.deepStrictEqual(tally({ testResults: [file("failed"), file("failed", "passed")] }), { passed: 1, failed: 2, skipped: 0 }))

  it("counts whatever did not run as skipped", () =>
    assert.deepStrictEqual(tally({ testResults: [file("passed", "skipped", "todo", "pending", "passed")] }), { passed: 1, failed: 0, skipped: 3 }))

  it("does not guess at a report of another shape", () => {
    assert.throws(() => tally({}))
  })
})
