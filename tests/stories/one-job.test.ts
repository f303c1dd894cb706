import { apiClient } from "@millrace/cli"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startTestCell, type TestCell } from "../../tools/cli/src/testing/cell.ts"
import { firstJob } from "../../tools/dev/src/first-job.ts"
import { normalised } from "./normalised.ts"

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
