import { apiClient } from "@millrace/cli"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startTestCell, type TestCell } from "../../tools/cli/src/testing/cell.ts"
import { firstJob } from "../../tools/dev/src/first-job.ts"

/** What differs from run to run and from machine to machine, by name instead of value. */
const normalised = (line: string): string =>
  line
    .replace(/\b(job|hst)_[0-9A-Z]{26}\b/gu, "$1_...")
    .replace(/\+\d+ ms */u, "+... ms  ")
    .replace(/of [\d.]+ cores, \d+ MiB free/u, "of ... cores, ... MiB free")

describe("the story of one job", () => {
  let cell: TestCell
  beforeAll(async () => void (cell = await startTestCell()))
  afterAll(() => cell?.stop())

  it("is told as npm start tells it: from the submission to what it printed", async () => {
    const lines: Array<string> = []
    await Effect.runPromise(Effect.gen(function*() {
      const client = yield* apiClient({ url: cell.stack.apiUrl, token: readFileSync(cell.stack.tokenFile, "utf8").trim() })
      yield* firstJob(client, (line) => void lines.push(line))
    }))
    await expect(`${lines.map(normalised).join("\n")}\n`).toMatchFileSnapshot("./one-job.txt")
  })
})
