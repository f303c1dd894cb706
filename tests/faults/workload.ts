import { hostIdOf } from "@millrace/access"
import { newSeed, signingKey } from "@millrace/journal/admission"
import type { HostId, JobId, JobSettled } from "@millrace/schemas"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import type { Cell } from "./cell.ts"
import { within } from "./within.ts"

const ackMsMax = 240_000
const settleMsMax = 150_000

/** More than any machine here has, and less than the largest that there are. */
const waitingCpuMilli = 1_000_000

/** A job that the cell has acknowledged, and how it may end. */
export interface Acknowledged {
  readonly what: string
  readonly jobId: JobId
  readonly outcomes: ReadonlyArray<JobSettled["outcome"]>
}

/** Everything that was acknowledged in one go. */
export interface Work {
  readonly jobs: ReadonlyArray<Acknowledged>
  readonly admitted: HostId | undefined
}

/**
 * Asks for something of every kind at once, and asks again, under the same keys, until each is acknowledged:
 * jobs that succeed, fail twice, cannot start, are too large and cancelled while they wait, are cancelled while
 * they run; an array; a request said twice; one that is denied; an account, and a grant that is handed out and
 * taken back, unless without `asks`, whose answers are read from tables; and, where a one-time key is given, a
 * new host.
 */
export const work = (cell: Cell, label: string, oneTimeKey?: string, { asks = true }: { readonly asks?: boolean } = {}): Effect.Effect<Work> =>
  Effect.promise(async () => {
    const noted = `echo "$MILLRACE_JOB $MILLRACE_ATTEMPT" >> ${cell.startsFile}`
    const job = (what: string, request: Request, outcomes: Acknowledged["outcomes"]) =>
      submit(cell, `${label}-${what}`, request).then((jobId): Acknowledged => ({ what: `${label} ${what}`, jobId, outcomes }))
    const shell = (script: string, attemptsMax: number): Request => ({ runtime: "process", argv: ["/bin/sh", "-c", `${noted}; ${script}`], attemptsMax })
    const [admitted, ...jobs] = await Promise.all([
      oneTimeKey === undefined ? undefined : enrol(cell, oneTimeKey),
      job("succeeds", shell("echo said", 4), ["succeeded"]).then(async (first) => {
        const again = await submit(cell, `${label}-succeeds`, shell("echo said", 4))
        if (again !== first.jobId) throw new Error(`one request became two jobs: ${first.jobId} and ${again}`)
        return first
      }),
      job("does nothing", { runtime: "noop", argv: [], attemptsMax: 4 }, ["succeeded"]),
      job("fails twice", shell("exit 3", 2), ["failed", "lost"]),
      job("cannot start", { runtime: "process", argv: ["/nowhere/program"], attemptsMax: 2 }, ["failed", "lost"]),
      job("waits", { runtime: "noop", argv: [], attemptsMax: 1, cpuMilli: waitingCpuMilli }, ["cancelled"]).then((waiting) =>
        // Not before the broker has been told what it waits for, which happens every two seconds at most.
        cancelOnce(cell, waiting, () => cell.log.facts("DemandChanged").at(-1)?.classes.some(({ cpuMilli }) => cpuMilli === waitingCpuMilli) === true)),
      job("runs on", { ...shell("exec sleep 140", 9), runMsMax: 300_000 }, ["cancelled"]).then((running) =>
        cancelOnce(cell, running, () => readFileSync(cell.startsFile, "utf8").includes(running.jobId))),
      job("array", { ...shell("true", 4), more: { array: { tasks: 3 } } }, ["succeeded"]),
      asks ? granted(cell, label) : undefined,
      denied(cell)
    ])
    return { admitted, jobs: jobs.filter((each) => each !== undefined) }
  })

/** Waits until every acknowledged job is settled; dies with the names of those that are not. */
export const settled = ({ log }: Cell, { jobs }: Work, msMax = settleMsMax): Effect.Effect<void> =>
  within(msMax, () => jobs.every(({ jobId }) => log.settled(jobId).length > 0), () =>
    `acknowledged and not settled: ${jobs.filter(({ jobId }) => log.settled(jobId).length === 0).map(({ jobId, what }) => `${what} (${jobId})`).join(", ")}`)

/** What became of acknowledged work, where it is not what it may be. */
export const wrongEnds = ({ log }: Cell, { admitted, jobs }: Work): ReadonlyArray<string> => [
  ...jobs.flatMap(({ jobId, outcomes, what }) => {
    const ends = log.settled(jobId)
    if (ends.length !== 1) return [`${what} (${jobId}) is settled ${ends.length} times`]
    return outcomes.includes(ends[0]!.outcome) ? [] : [`${what} (${jobId}) ended ${ends[0]!.outcome}: ${ends[0]!.cause}`]
  }),
  ...(admitted === undefined || log.admitted(admitted) === 1 ? [] : [`${admitted} was admitted ${log.admitted(admitted)} times`])
]

/** What a job's program said, as the API gives it back. */
export const output = (cell: Cell, jobId: JobId): Effect.Effect<string> =>
  Effect.promise(() => until(async () => {
    const answer = await fetch(`${cell.stack.apiUrl}/v1/jobs/${jobId}/output/stdout`, { headers: { authorization: `Bearer ${cell.token}` } })
    const text = await answer.text()
    return answer.status === 200 ? text : undefined
  }, `the output of ${jobId}`))

/** The status with which the API shows a job now. */
export const statusOf = (cell: Cell, jobId: JobId): Effect.Effect<number> =>
  Effect.promise(async () => (await ask(cell, "GET", `/v1/jobs/${jobId}`)).status)

/** What is asked for, beyond what every job here has: little room, little time, and work that is one's own. */
export interface Request {
  readonly runtime: "process" | "noop" | "sandbox"
  readonly argv: ReadonlyArray<string>
  readonly attemptsMax: number
  readonly cpuMilli?: number
  readonly memoryMib?: number
  readonly runMsMax?: number
  /** How long it may go on without hearing from us. */
  readonly keepMs?: number
  readonly env?: Readonly<Record<string, string>>
  /** Fields of the API as they are. */
  readonly more?: Readonly<Record<string, unknown>>
}

/** Submits until it is acknowledged. */
export const submit = (cell: Cell, name: string, request: Request, token = cell.token): Promise<JobId> => {
  const { argv, attemptsMax, cpuMilli = 50, env = {}, keepMs = 300_000, memoryMib = 8, more = {}, runMsMax = 60_000, runtime } = request
  return until(async () => {
    const { body, status } = await ask(cell, "POST", "/v1/jobs", {
      runtime,
      trust: "own",
      resources: { cpuMilli, memoryMib, diskMib: 0, gpus: 0 },
      argv,
      env,
      labels: {},
      attemptsMax,
      runMsMax,
      onSilence: { keepMs },
      ...more
    }, { "idempotency-key": keyOf(name) }, token)
    return status === 200 ? (body as { jobId: JobId }).jobId : undefined
  }, `an acknowledgement of ${name}`)
}

/** What was answered, and what is shown once: nothing, where an earlier answer to the same question was lost. */
export interface Answer {
  readonly name: string
  readonly body: Readonly<Record<string, unknown>>
  readonly secret?: string
}

/** Asks one of the services behind the gateway, under one key, until it has answered. */
export const answered = (cell: Cell, key: string, path: string, body: object): Promise<Answer> =>
  until(async () => {
    const reply = await ask(cell, "POST", path, body, { "idempotency-key": keyOf(key) })
    if (reply.status !== 200) return undefined
    const { answer, secret } = reply.body as { readonly answer: Answer; readonly secret?: string }
    return { ...answer, ...(secret === undefined ? {} : { secret }) }
  }, `an answer to ${key}`)

/** One read of the API, once it answers. */
export const shown = <A>(cell: Cell, path: string): Promise<A> =>
  until(async () => {
    const { body, status } = await ask(cell, "GET", path)
    return status === 200 ? body as A : undefined
  }, path)

const keyOf = (name: string): string => name.replaceAll(/[^A-Za-z0-9_:-]/gu, "-")

export const cancelOnce = async (cell: Cell, job: Acknowledged, may: () => boolean): Promise<Acknowledged> => {
  await until(async () => may() ? true : undefined, `the moment to cancel ${job.what}`)
  await until(async () => (await ask(cell, "POST", `/v1/jobs/${job.jobId}/cancel`)).status === 200 ? true : undefined, `an acknowledgement of the cancel of ${job.what}`)
  return job
}

/** An account, and a grant on it that is taken back again. */
const granted = async (cell: Cell, label: string): Promise<undefined> => {
  const { body: { account } } = await answered(cell, `${label}-account`, "/v1/budgets", { limitPico: "1000000000" })
  const { body: { grantId } } = await answered(cell, `${label}-grant`, "/v1/grants", { holder: "user:worker", reach: { actions: ["job.*"], lifeMs: 3_600_000 }, account })
  const { name } = await answered(cell, `${label}-revoke`, `/v1/grants/${String(grantId)}/revoke`, { cause: "no longer needed" })
  if (name !== "GrantRevoked") throw new Error(`the revocation of ${String(grantId)} was answered with ${name}`)
  const principal = `user:${keyOf(label).toLowerCase()}`.slice(0, 40)
  await answered(cell, `${label}-role`, "/v1/roles", { principal, role: "viewer" })
  await answered(cell, `${label}-token`, "/v1/credentials", { principal })
}

const denied = async (cell: Cell): Promise<undefined> => {
  const before = cell.log.facts("DecisionMade").length
  await until(async () => (await ask(cell, "POST", "/v1/jobs", { argv: ["true"], attemptsMax: 1, runMsMax: 1000, onSilence: { keepMs: 300_000 }, env: {}, labels: {} }, {}, cell.readersToken)).status === 403 ? true : undefined, "a denial")
  await until(async () => cell.log.facts("DecisionMade").length > before ? true : undefined, "the denial in the log")
}

const enrol = async (cell: Cell, oneTimeKey: string): Promise<HostId> => {
  const { publicKey } = signingKey(newSeed("user"))
  const hostId = await until(async () => {
    const { body, status } = await ask(cell, "POST", "/v1/hosts/enrol", { oneTimeKey, publicKey }, {}, undefined, cell.stack.accessUrl)
    return status === 200 ? (body as { hostId: HostId }).hostId : undefined
  }, "an enrolment")
  if (hostId !== hostIdOf(publicKey)) throw new Error(`a host enrolled as ${hostIdOf(publicKey)} and was called ${hostId}`)
  return hostId
}

interface Reply {
  readonly status: number
  readonly body: unknown
}

/** One request. No answer, or one that says "not now", counts as none; any other refusal is a bug of this test or of ours. */
const ask = async (cell: Cell, method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}, token = cell.token, url = cell.stack.apiUrl): Promise<Reply> => {
  const reply = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(12_000)
  }).then(async (answer): Promise<Reply> => ({ status: answer.status, body: await answer.json() }), (): Reply => ({ status: 0, body: undefined }))
  const mayCome = [0, 200, 202, 502, 503, 504, 403, ...(method === "GET" ? [404] : [])]
  const expected = mayCome.includes(reply.status)
  if (!expected) throw new Error(`${method} ${path} was answered with ${reply.status}: ${JSON.stringify(reply.body)}`)
  return reply
}

export const until = async <A>(look: () => Promise<A | undefined>, what: string): Promise<A> => {
  const end = performance.now() + ackMsMax
  while (performance.now() < end) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise((wake) => setTimeout(wake, 20))
  }
  throw new Error(`waited ${ackMsMax} ms for ${what}`)
}
