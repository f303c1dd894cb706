import { Readiness } from "@millrace/service"
import { Effect, Exit, Fiber } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startServices } from "../../tools/dev/src/all-in-one.ts"
import { startCloud } from "../../tools/dev/src/cloud.ts"
import { startStack } from "../../tools/dev/src/stack.ts"
import { firstStory, isolation, type Stage, storyLeaseMs } from "../../tools/dev/src/story/first-story.ts"
import { normalised } from "./normalised.ts"

const leaseMs = 4 * storyLeaseMs.usual

/** What a program prints, and that somebody looks at it, comes beside the facts: each in its own order. */
const inOrder = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const acts: Array<{ readonly facts: Array<string>; readonly printed: Array<string> }> = []
  for (const line of lines) {
    if (/^\d\. /u.test(line) || acts.length === 0) acts.push({ facts: [], printed: [] })
    const act = acts.at(-1)!
    if (/^ +\| /u.test(line)) act.printed.push(line)
    else if (!/ Session(Opened|Closed) | killed | rented /u.test(line)) act.facts.push(line)
  }
  return acts.flatMap(({ facts, printed }) => [...facts, ...printed])
}

/** How far the count of primes came until the machine died is nobody's promise. */
const told = (line: string): string => line.replace(/second \d of (\d): .*/u, "second ... of $1: ... pairs of twin primes below ...")
const once = (lines: ReadonlyArray<string>): ReadonlyArray<string> => lines.filter((line, at) => line !== lines[at - 1] || !line.includes("twin primes below"))

describe("the first story", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-story-"))
  let stage: Stage
  let stop: () => Promise<void>
  beforeAll(() => new Promise<void>((settle, refuse) => {
    const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
      const stack = yield* startStack({ folder, freePorts: true })
      const { env, sky } = yield* startCloud(stack)
      // On a machine that is busy with other tests a host may be silent for longer than somebody who looks would wait.
      yield* startServices(stack, { ...env, MILLRACE_LEASE_MS: String(leaseMs) })
      stage = { apiUrl: stack.apiUrl, ownerToken: readFileSync(stack.tokenFile, "utf8").trim(), skyUrl: sky.url, leaseMs }
      settle()
      return yield* Effect.never
    })).pipe(Effect.provide(Readiness.layer)))
    stop = () => Effect.runPromise(Fiber.interrupt(fiber))
    fiber.addObserver((exit) => Exit.isFailure(exit) && refuse(new Error(String(exit.cause))))
  }), 120_000)
  afterAll(async () => {
    await stop?.()
    rmSync(folder, { recursive: true, force: true })
  }, 60_000)

  it("is told as npm start tells it, from the grant to the bill of the lost machine", async () => {
    // Where nothing isolates, npm start tells another story: one-job.txt.
    expect(await Effect.runPromise(isolation(stage))).toEqual({ holds: true, why: "no sandbox runs here" })
    const lines: Array<string> = []
    await Effect.runPromise(firstStory(stage, (line) => void lines.push(line)))
    await expect(`${once(inOrder(lines.map(normalised).map(told))).join("\n")}\n`).toMatchFileSnapshot("./first-story.txt")
  }, 240_000)
})
