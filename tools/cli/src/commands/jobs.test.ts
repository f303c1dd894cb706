import type { JobView, StoryLine } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { afterAll, assert, beforeAll, describe, expect, it, vi } from "vitest"
import { exitCodes } from "../exit-codes.ts"
import type { FactView } from "../fact-line.ts"
import { cutText } from "../story.ts"
import { linesOf, millrace, millraceHere, type Ran, shapeOf, startTestCell, type TestCell } from "../testing/cell.ts"

const told = (lines: ReadonlyArray<{ readonly name: string }>) => lines.map(({ name }) => name)
const node = (program: string) => ["--", process.execPath, "-e", program]
/** What happens to a job that all goes well with, on one host. */
const firstStory = ["JobSubmitted", "PlacementMade", "AttemptStarted", "ArtefactKept", "AttemptExited", "JobSettled"]
const golden = (name: string) => `../../golden/${name}`

// Each step is a process of its own, and a busy machine starts them slowly.
vi.setConfig({ testTimeout: 90_000 })

describe("the command, against a running cell", () => {
  let cell: TestCell
  /** Several at once, each a process of its own. */
  const run = (...args: ReadonlyArray<string>): Promise<Ran> => millrace(cell.folder, args)
  const here = (...args: ReadonlyArray<string>): Promise<Ran> => millraceHere(cell.folder, args)
  const json = async <A>(...args: ReadonlyArray<string>): Promise<A> => {
    const [command, ...rest] = args
    const ran = await here(command!, "-o", "json", ...rest)
    assert.strictEqual(ran.code, 0, ran.stderr)
    return JSON.parse(ran.stdout) as A
  }
  /** Waits until a job is charged: it is, a moment after its end. */
  const charged = async (jobId: string): Promise<JobView> => {
    const { job } = await json<{ job: JobView }>("show", jobId)
    return job.spentPico === undefined ? new Promise((settle) => setTimeout(settle, 100)).then(() => charged(jobId)) : job
  }
  beforeAll(async () => void (cell = await startTestCell()))
  afterAll(() => cell?.stop())

  it("submit --follow tells the story until the job has succeeded, and exits 0", async () => {
    const ran = await run("submit", "--follow", "--env", "WHO=world", "--cpu", "0.5", "--memory", "64MiB", ...node("console.log('hello', process.env.WHO)"))
    assert.strictEqual(ran.code, 0, ran.stderr)
    assert.match(ran.stderr, /^Submitted job_[0-9A-Z]{26} to http:\/\/127\.0\.0\.1:/u)
    assert.deepStrictEqual(linesOf(ran.stdout).map((line) => line.slice(12, 30).trim()).filter((name) => name !== "SpendCommitted"), firstStory)
    assert.match(ran.stdout, /^\+0 ms /u)
    assert.include(ran.stdout, "0.5 cores, 64 MiB")
    const jobId = /job_[0-9A-Z]{26}/u.exec(ran.stderr)![0]
    const [stdout, stderr] = await Promise.all([here("output", jobId), here("output", jobId, "stderr")])
    assert.deepStrictEqual([stdout.code, stdout.stdout], [0, "hello world\n"])
    assert.deepStrictEqual([stderr.code, stderr.stdout], [exitCodes.unknown.code, ""])
    assert.include(stderr.stderr, "output_unknown")
  })

  it("a program that fails gives its own exit code, its story as lines of JSON, and the job last", async () => {
    const ran = await run("submit", "-f", "-o", "json", ...node("process.exit(3)"))
    assert.strictEqual(ran.code, exitCodes.failed.code, ran.stderr)
    const values = linesOf(ran.stdout).map((line) => JSON.parse(line) as StoryLine & JobView)
    assert.include(told(values.slice(0, -1)), "JobSettled")
    assert.deepInclude(values.at(-1), { state: "failed", exitCode: 3 })
  })

  it("a program that does nothing for longer than it may is ended, and its story says why", async () => {
    const ran = await run("submit", "-f", "--idle-limit", "1s", ...node("setTimeout(() => {}, 45_000)"))
    assert.strictEqual(ran.code, exitCodes.failed.code, ran.stderr)
    assert.match(ran.stdout, /AttemptExited .*ended, it did nothing for too long/u)
    assert.match(ran.stdout, /JobSettled .*it did nothing for 1000 ms \(idleMsMax\)/u)
  })

  it("one idempotency key submits once, and is refused for another request", async () => {
    const first = await here("submit", "--key", "once", ...node("0"))
    const [again, other] = await Promise.all([here("submit", "--key", "once", ...node("0")), here("submit", "--key", "once", ...node("1"))])
    assert.deepStrictEqual([first.code, again.code], [0, 0])
    assert.strictEqual(again.stdout, first.stdout)
    assert.include(again.stderr, "used for the same request before")
    assert.deepStrictEqual([other.code, other.stdout], [exitCodes.rejected.code, ""])
    assert.match(other.stderr, /^millrace: The idempotency key once already names job_.*\n {2}where: .*\n {2}remedy: .*\n {2}code: {4}idempotency_mismatch\n$/su)
  })

  it("Ctrl-C while following leaves the job alone and says how to come back", async () => {
    const follower = await millrace(cell.folder, ["submit", "--follow", ...node("setTimeout(() => {}, 45_000)")], {
      seen: (stdout, child) => stdout.includes("AttemptStarted") && child.kill("SIGINT")
    })
    assert.strictEqual(follower.code, exitCodes.interrupted.code, follower.stderr)
    const [, jobId] = /Detached; the job goes on\. Come back with: millrace story (job_[0-9A-Z]{26}) --follow\n$/u.exec(follower.stderr) ?? []
    assert.isDefined(jobId, follower.stderr)
    const { cut } = await json<{ cut: Cut }>("story", jobId!)
    const shown = await json<{ job: JobView }>("show", jobId!, "--after", cutText(cut))
    assert.strictEqual(shown.job.state, "running")
    const [back, cancelled] = await Promise.all([run("story", jobId!, "--follow"), run("cancel", jobId!)])
    assert.deepStrictEqual([back.code, cancelled.code], [0, 0], back.stderr + cancelled.stderr)
    assert.include(back.stdout, "JobCancelRequested")
    assert.match(back.stdout, /JobSettled +cancelled/u)
  })

  it("following a job that somebody cancels ends with a code of its own", async () => {
    const request = ["--key", "to-cancel", ...node("setTimeout(() => {}, 45_000)")]
    const { jobId } = await json<{ jobId: string }>("submit", ...request)
    const [followed, cancelled] = await Promise.all([run("submit", "--follow", ...request), run("cancel", jobId)])
    assert.deepStrictEqual([followed.code, cancelled.code], [exitCodes.cancelled.code, 0], followed.stderr + cancelled.stderr)
  })

  it("a job that is not there is said so, for people and for programs", async () => {
    const jobId = `job_${"0".repeat(26)}`
    const [text, program] = await Promise.all([here("show", jobId), here("story", jobId, "--follow", "-o", "json")])
    assert.deepStrictEqual([text.code, program.code], [exitCodes.unknown.code, exitCodes.unknown.code])
    assert.strictEqual(text.stderr, `millrace: there is no job ${jobId}\n  where:   this workspace\n  remedy:  list the jobs you have with: millrace ls\n  code:    job_unknown\n`)
    assert.deepStrictEqual(JSON.parse(program.stderr), {
      error: { code: "job_unknown", what: `there is no job ${jobId}`, where: "this workspace", remedy: "list the jobs you have with: millrace ls" }
    })
  })

  it("events lists every fact of a job that its story tells, in the order of its causes", async () => {
    const { cut, jobId } = await json<{ cut: Record<string, number>; jobId: string }>("submit", ...node("console.log(1)"))
    await here("story", jobId, "--follow", "--after", `GATEWAY=${cut["GATEWAY"]}`)
    await charged(jobId)
    const story = await json<{ lines: ReadonlyArray<StoryLine>; over: boolean }>("story", jobId)
    assert.isTrue(story.over)
    const [all, scheduled, before] = await Promise.all([
      here("events", "-o", "json"),
      here("events", "--stream", "SCHEDULER", "--raw"),
      here("events", "--at", `GATEWAY=${cut["GATEWAY"]! - 1}`, "-o", "json")
    ])
    const facts = linesOf(all.stdout).map((line) => JSON.parse(line) as FactView)
    const mine = facts.filter(({ partOf }) => partOf === story.lines[0]!.id)
    assert.deepStrictEqual(mine.map(({ id }) => id), story.lines.map(({ id }) => id))
    assert.deepStrictEqual(told(mine).filter((name) => name !== "SpendCommitted"), firstStory)
    assert.strictEqual(all.stderr, `${facts.length} facts in ${new Set(facts.map(({ sequence, stream }) => `${stream} ${sequence}`)).size} commits\n`)
    assert.isTrue(linesOf(scheduled.stdout).every((line) => line.startsWith("SCHEDULER ") && line.endsWith("}")))
    assert.strictEqual(linesOf(scheduled.stdout).length, facts.filter(({ stream }) => stream === "SCHEDULER").length)
    const earlier = linesOf(before.stdout).map((line) => JSON.parse(line) as FactView)
    assert.deepStrictEqual(earlier.map(({ id }) => id), facts.filter(({ sequence, stream }) => stream === "GATEWAY" && sequence < cut["GATEWAY"]!).map(({ id }) => id))
    await expect(JSON.stringify(shapeOf(mine[0]), null, 2)).toMatchFileSnapshot(golden("events-line.json"))
  })

  it("what -o json prints has the documented shapes", async () => {
    const submitted = await json<{ jobId: string; cut: Cut }>("submit", "--key", "shapes", ...node("console.log(1)"))
    await here("story", submitted.jobId, "--follow", "--after", cutText(submitted.cut))
    await charged(submitted.jobId)
    const story = await json<{ cut: Cut }>("story", submitted.jobId)
    const [ls, show, output, cancel, doctor, status] = await Promise.all([
      json("ls", "--limit", "1", "--after", cutText(story.cut)),
      json("show", submitted.jobId, "--after", cutText(story.cut)),
      json("output", submitted.jobId),
      json("cancel", submitted.jobId),
      json<{ rows: ReadonlyArray<{ name: string; ok: boolean }> }>("doctor"),
      json("status")
    ])
    await expect(JSON.stringify(shapeOf({ submit: submitted, ls, show, story, output, cancel, doctor, status }), null, 2)).toMatchFileSnapshot(golden("json-shapes.json"))
    assert.includeDeepMembers([...doctor.rows.map(({ name, ok }) => ({ name, ok }))], ["nats-server", "api", "log", "tables"].map((name) => ({ name, ok: true })))
  })

  it("replay --verify makes every decision of this log again, and finds nothing", async () => {
    const ran = await here("replay", "--verify", "--checkpoint", "-o", "json")
    assert.strictEqual(ran.code, 0, ran.stdout + ran.stderr)
    const verdict = JSON.parse(ran.stdout) as { decisions: number; facts: number; mismatches: ReadonlyArray<unknown> }
    assert.deepStrictEqual(verdict.mismatches, [])
    assert.isAtLeast(verdict.decisions, 10)
    await expect(JSON.stringify(shapeOf(verdict), null, 2)).toMatchFileSnapshot(golden("replay.json"))
  })

  it("a wrong token, address or command line is told with its remedy", async () => {
    const [token, address, words] = await Promise.all([
      millraceHere(cell.folder, ["ls"], { MILLRACE_TOKEN: "mill_nobody" }),
      millraceHere(cell.folder, ["ls"], { MILLRACE_URL: "http://127.0.0.1:1", MILLRACE_TOKEN: "mill_nobody", MILLRACE_PATIENCE: "0s" }),
      here("submit", "--memory", "much", "--", "true")
    ])
    assert.deepStrictEqual([token.code, address.code, words.code], [exitCodes.forbidden.code, exitCodes.unavailable.code, exitCodes.usage.code])
    assert.match(token.stderr, /token_unknown\n$/u)
    assert.match(address.stderr, /^millrace: the API at http:\/\/127\.0\.0\.1:1 does not answer\n.*npm start.*api_unreachable\n$/su)
    assert.match(words.stderr, /"much" is not a size such as 256MiB.*see: millrace submit --help/su)
  })
})

describe("the command, where no cell runs", () => {
  it("says so in one sentence with the command that starts one", async () => {
    const [ls, events] = await Promise.all([millrace("/nowhere/at/all", ["ls"]), millrace("/nowhere/at/all", ["events", "-o", "json"])])
    assert.deepStrictEqual([ls.code, events.code], [exitCodes.unavailable.code, exitCodes.unavailable.code])
    assert.match(ls.stderr, /^millrace: no cell runs on this machine\n {2}where: {3}\/nowhere\/at\/all\n {2}remedy: {2}start one with: npm start/u)
    assert.strictEqual(JSON.parse(events.stderr).error.code, "cell_not_running")
  })
})
