import { Chance } from "@millrace/sim"
import type { AccountId, GrantId } from "@millrace/schemas"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Cell } from "./cell.ts"
import type { BillRow } from "./laws.ts"
import { type Acknowledged, answered, cancelOnce, type Request, shown, submit, until } from "./workload.ts"

/** A job that was acknowledged, and whether its program must have run to its last line if it succeeded. */
export interface Told extends Acknowledged {
  readonly tellsItsEnd: boolean
  /** How many tasks succeed. */
  readonly tasks: number
}

/** Where programs write what they live through. */
export interface Marks {
  /** A task's second program found the first one alive. */
  readonly overlaps: () => ReadonlyArray<string>
  /** Attempts whose program came to its last line: `job task attempt`. */
  readonly ends: () => ReadonlyArray<string>
}

interface Pen extends Marks {
  readonly script: (rest: string) => ReadonlyArray<string>
}

/** So long work may go on in silence here, in ms. */
export const keepMs = 1_000
/** An attempt that ends with its agent or its keeper counts; this many will not. */
const attemptsMax = 30

/**
 * Each program holds a lock of its task for as long as any process of it lives: the kernel tells a second one
 * of the first, whatever the log says.
 */
const penIn = (cell: Cell): Pen => {
  const at = (name: string) => join(cell.folder, name)
  mkdirSync(at("locks"))
  for (const name of ["overlaps", "ends"]) writeFileSync(at(name), "")
  const linesOf = (name: string) => readFileSync(at(name), "utf8").split("\n").filter((line) => line !== "")
  return {
    overlaps: () => linesOf("overlaps"),
    ends: () => linesOf("ends"),
    script: (rest) => ["/bin/sh", "-c", [
      `task=\${MILLRACE_TASK:--}`,
      `exec 9>"${at("locks")}/$MILLRACE_JOB.$task"`,
      `flock -n 9 || echo "$MILLRACE_JOB $task $MILLRACE_ATTEMPT" >> ${at("overlaps")}`,
      `echo "$MILLRACE_JOB $MILLRACE_ATTEMPT" >> ${cell.startsFile}`,
      rest,
      `echo "$MILLRACE_JOB $task $MILLRACE_ATTEMPT" >> ${at("ends")}`
    ].join("\n")]
  }
}

/** The jobs of one run: each is a promise of its acknowledgement. */
export interface ManyJobs extends Marks {
  readonly all: ReadonlyArray<() => Promise<ReadonlyArray<Told>>>
  /** Of the grant that some of them run under. */
  readonly grant: GrantId
  readonly account: AccountId
}

/**
 * Jobs of every kind, about 200 tasks, in an order that the seed decides: short programs, some that fail or
 * cannot start, some that do nothing, an array, some after others, some under a grant with little money, some
 * that are cancelled, and where work can be isolated some in sandboxes: plain, kept and forked, or with a child.
 */
export const manyJobs = async (cell: Cell, chance: Chance, isolates: boolean): Promise<ManyJobs> => {
  const pen = penIn(cell)
  const { account, grant, token } = await poorGrant(cell)
  const said = async (what: string, request: Request, outcomes: Acknowledged["outcomes"], more: Partial<Told> & { readonly token?: string } = {}): Promise<Told> => {
    const jobId = await submit(cell, what, { keepMs, ...request }, more.token)
    return { what, jobId, outcomes, tellsItsEnd: request.runtime === "process" && outcomes.includes("succeeded"), tasks: 1, ...more }
  }
  const times = (count: number, make: (name: number) => Promise<ReadonlyArray<Told>>) => Array.from({ length: count }, (_, name) => () => make(name))
  const program = (rest: string, more: Partial<Request> = {}): Request => ({ runtime: "process", argv: pen.script(rest), attemptsMax, ...more })
  const naps = (): string => `sleep 0.${chance.between(0, 9)}`
  const isolated = (script: string, more: Partial<Request> = {}): Request =>
    ({ runtime: "sandbox", argv: ["/bin/sh", "-c", script], attemptsMax, memoryMib: 32, cpuMilli: 200, ...more })

  const sandboxes = !isolates ? [] : [
    ...times(2, async (n) => [await said(`isolated ${n}`, isolated("echo inside"), ["succeeded"])]),
    async () => {
      const kept = await said("kept", isolated("echo state > /work/state", { more: { snapshotAtEnd: "files" } }), ["succeeded"])
      const snapshot = await until(async () => cell.log.facts("SnapshotAvailable").find(({ jobId }) => jobId === kept.jobId), "the snapshot of what was kept")
      const forks = await Promise.all([1, 2].map((n) => said(`fork ${n}`, isolated("grep state /work/state", { more: { startFrom: snapshot.snapshotId } }), ["succeeded"])))
      return [kept, ...forks]
    },
    async () => [await said("parent", program(`${process.execPath} -e ${quoted(bearing)}`, { more: { grant } }), ["succeeded"], { token })]
  ]
  const jobs = [
    ...times(95, async (n) => [await said(`program ${n}`, program(naps()), ["succeeded"])]),
    ...times(35, async (n) => [await said(`nothing ${n}`, { runtime: "noop", argv: [], attemptsMax }, ["succeeded"])]),
    ...times(6, async (n) => [await said(`fails ${n}`, program(`${naps()}; exit 3`, { attemptsMax: 2 }), ["failed", "lost"], { tellsItsEnd: false })]),
    ...times(2, async (n) => [await said(`cannot start ${n}`, { runtime: "process", argv: ["/nowhere/program"], attemptsMax: 2 }, ["failed", "lost"])]),
    ...times(20, async (n) => [await said(`granted ${n}`, program(naps(), { more: { grant } }), ["succeeded"], { token })]),
    ...times(3, async (n) => {
      const first = await said(`first ${n}`, program(naps()), ["succeeded"])
      return [first, await said(`after ${n}`, program(naps(), { more: { after: [{ jobId: first.jobId, on: "succeeded" }] } }), ["succeeded"])]
    }),
    ...times(3, async (n) => {
      const running = await said(`runs on ${n}`, program("exec sleep 60"), ["cancelled"], { tellsItsEnd: false })
      return [await cancelOnce(cell, running, () => readFileSync(cell.startsFile, "utf8").includes(running.jobId)).then(() => running)]
    }),
    ...times(2, async (n) => {
      const waiting = await said(`waits ${n}`, { runtime: "noop", argv: [], attemptsMax: 1, more: { where: { only: { regions: ["nowhere-1"] } } } }, ["cancelled"])
      return [await cancelOnce(cell, waiting, () => cell.log.deferred(waiting.jobId)).then(() => waiting)]
    }),
    async () => [await said("array", program(naps(), { more: { array: { tasks: 24, parallelismMax: 5 } } }), ["succeeded"], { tasks: 24 })],
    ...sandboxes
  ]
  const order = jobs.map((job) => ({ job, at: chance.next() })).sort((left, right) => left.at - right.at)
  return { ...pen, account, grant, all: order.map(({ job }) => job) }
}

/** Somebody who may do no more than one grant says, with money for about ten attempts at once. */
const poorGrant = async (cell: Cell) => {
  const opened = await answered(cell, "poor account", "/v1/budgets", { limitPico: "600000000" })
  const account = opened.body["account"] as AccountId
  const issued = await answered(cell, "poor grant", "/v1/grants", {
    holder: "user:worker",
    reach: { actions: ["job.*"], constraints: { cpuMilliMax: 500, memoryMibMax: 256, concurrencyMax: 4, usesMax: 40 }, lifeMs: 3_600_000, depthMax: 1 },
    account
  })
  const grant = issued.body["grantId"] as GrantId
  const { secret } = await answered(cell, "poor token", "/v1/credentials", { principal: "user:worker", grant })
  return { account, grant, token: secret! }
}

/** Asks for a child over the socket that the host has opened for it, until it is acknowledged. */
const bearing = `
const { request } = require("node:http")
const body = JSON.stringify({ runtime: "sandbox", argv: ["/bin/sh", "-c", "echo child"], attemptsMax: 30, runMsMax: 60000, onSilence: { keepMs: ${keepMs} }, resources: { cpuMilli: 200, memoryMib: 32, diskMib: 0, gpus: 0 } })
const again = () => setTimeout(bear, 300)
const bear = () => {
  const asked = request({ socketPath: process.env.MILLRACE_SOCKET, path: "/v1/jobs", method: "POST", timeout: 10000, headers: { "content-type": "application/json", "content-length": body.length, "idempotency-key": "child-of-" + process.env.MILLRACE_JOB } }, (answer) => {
    let said = ""
    answer.on("data", (part) => said += part).on("end", () => {
      if (answer.statusCode === 200) return console.log(said)
      console.error(answer.statusCode + " " + said)
      if (answer.statusCode === 403) process.exit(1)
      again()
    })
  })
  asked.on("error", (error) => { console.error(String(error)); again() }).on("timeout", () => asked.destroy()).end(body)
}
bear()
`

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** What tasks of a job that succeeded came to their last line in an attempt that succeeded: none is missing, in no attempt's name. */
export const untoldEnds = ({ log }: Cell, { ends }: Marks, jobs: ReadonlyArray<Told>): ReadonlyArray<string> => {
  const told = new Set(ends())
  return jobs.filter(({ jobId, tellsItsEnd }) => tellsItsEnd && log.settled(jobId)[0]?.outcome === "succeeded").flatMap(({ jobId, tasks, what }) => {
    const settled = tasks === 1
      ? log.settled(jobId).map(({ attemptId }) => `${jobId} - ${attemptId}`)
      : log.facts("TaskSettled").filter((fact) => fact.jobId === jobId).map(({ attemptId, task }) => `${jobId} ${task} ${attemptId}`)
    return [
      ...(settled.length === tasks ? [] : [`${what} has ${settled.length} tasks that are over, of ${tasks}`]),
      ...settled.filter((line) => !told.has(line)).map((line) => `${what}: ${line} did not come to its last line`)
    ]
  })
}

/** The rows of the workspace's bill, as new as all that the log's reader has heard. */
export const billOf = async (cell: Cell): Promise<ReadonlyArray<BillRow>> => {
  const heard = new Map(cell.log.history.map(({ sequence, stream }) => [stream, sequence]))
  const after = (["SCHEDULER", "HOSTS", "METERING"] as const).map((stream) => `${stream}=${heard.get(stream) ?? 0}`).join(",")
  const { rows, rowsAll } = await shown<{ readonly rows: ReadonlyArray<BillRow>; readonly rowsAll: number }>(cell, `/v1/usage?limit=10000&waitMs=20000&after=${after}`)
  if (rows.length !== rowsAll) throw new Error(`the bill has ${rowsAll} rows, of which one answer holds ${rows.length}`)
  return rows
}
