import { moneyText } from "@millrace/pricing"
import type { Cut, GrantId, Principal } from "@millrace/schemas"
import { Effect, Fiber, Latch, Schedule } from "effect"
import { availableParallelism } from "node:os"
import { asked, putExample, type Speaker, speakerWith, watch } from "./speaking.ts"
import { type Say, Telling } from "./telling.ts"

/** A cell that runs, and the pretend cloud beside it. */
export interface Stage {
  readonly apiUrl: string
  readonly ownerToken: string
  readonly skyUrl: string
  /** How long work on a rented machine may go on without a word from us, in ms: its host's lease. */
  readonly leaseMs: number
}

const agent = "agent:analyst" as Principal
const grantLifeMs = 600_000
const fiveCentsPico = 50_000_000_000n

interface Hosts {
  readonly hosts: ReadonlyArray<{ readonly capabilities: { readonly runtimes: ReadonlyArray<string>; readonly trusts: ReadonlyArray<string>; readonly labels: Readonly<Record<string, string>> } | null }>
}

/** Whether work that nobody vouches for can run on this machine, once its host has joined; else why not, in the host's words. */
export const isolation = ({ apiUrl, ownerToken }: Stage): Effect.Effect<{ readonly holds: boolean; readonly why: string }, Error> =>
  Effect.gen(function*() {
    const { hosts } = yield* asked<Hosts>({ url: apiUrl, token: ownerToken }, "/v1/hosts")
    const known = hosts.flatMap(({ capabilities }) => (capabilities === null ? [] : [capabilities]))
    if (known.length === 0) return yield* wrong("no host has joined")
    return {
      holds: known.some(({ runtimes, trusts }) => runtimes.includes("sandbox") && trusts.includes("others")),
      why: known.map(({ labels }) => labels["isolation"] ?? "").find((label) => label !== "") ?? "no sandbox runs here"
    }
  }).pipe(Effect.retry({ times: 60, schedule: Schedule.spaced("250 millis") }))

/** How long each machine's lease is in this run, in ms: short, so that a lost one is noticed while somebody looks. */
export const storyLeaseMs = { usual: 3_000, fast: 1_500 } as const

/** The story did not go as it should. */
const wrong = (what: string) => Effect.fail(new Error(what))

/**
 * The first story, line by line as it happens: an agent's job from its grant to its bill, what it may not do,
 * and a machine that dies under another job. Fails where anything goes another way.
 */
export const firstStory = Effect.fnUntraced(function*(stage: Stage, say: Say) {
  const telling = new Telling(say)
  const owner = yield* speakerWith(stage.apiUrl, stage.ownerToken)

  telling.act(1, "An agent gets a grant")
  const { grant, token } = yield* aGrant(owner, telling)
  const analyst = yield* speakerWith(stage.apiUrl, token)

  telling.act(2, "It submits a job, and the job runs in a sandbox")
  const growth = yield* aJob(analyst, telling)

  telling.act(3, "What it cost")
  yield* itsCost(owner, growth, telling)

  telling.act(4, "It tries what it may not")
  yield* overreaching(analyst, owner, grant, telling)

  telling.act(5, "Work that this machine cannot hold rents one, and the machine dies")
  const primes = yield* onALostMachine(stage, owner, telling)

  telling.act(6, "What that cost: the lost part apart")
  yield* itsCost(owner, primes, telling)
})

const aGrant = Effect.fnUntraced(function*(owner: Speaker, telling: Telling) {
  const issued = yield* owner.client.asks.issueGrant({
    headers: {},
    payload: {
      holder: agent,
      reason: "monthly figures",
      reach: {
        actions: ["job.*", "blob.*", "grant.delegate"] as never,
        constraints: { cpuMilliMax: 1_000, memoryMibMax: 256, gpusMax: 0, egress: [], concurrencyMax: 1, spendPicoMax: fiveCentsPico },
        lifeMs: grantLifeMs,
        depthMax: 1
      }
    }
  })
  if (!("answer" in issued)) return yield* wrong("access has not answered within 10 s")
  const grant = issued.answer.body["grantId"] as GrantId
  telling.note("GrantIssued", `${grant} to ${agent} for ten minutes: one sandbox at a time, 1 core, 256 MiB, no GPU, no network, ${moneyText(fiveCentsPico)}  <- GrantAsked by user:owner`)
  const credential = yield* owner.client.asks.issueCredential({ headers: {}, payload: { principal: agent, grant, lifeMs: grantLifeMs } })
  if (credential.secret === undefined) return yield* wrong("no token was shown")
  telling.note("CredentialIssued", `a token that stands for ${agent} under that grant alone; the log holds its digest  <- CredentialAsked by user:owner`)
  return { grant, token: credential.secret }
})

const aJob = Effect.fnUntraced(function*(analyst: Speaker, telling: Telling) {
  const files = yield* Effect.forEach(["report.js", "sales.csv"], (name) => putExample(analyst, name))
  const { cut, jobId } = yield* analyst.client.jobs.submit({
    headers: {},
    payload: {
      ...plain,
      name: "monthly-growth" as never,
      argv: ["node", "/work/report.js"],
      files,
      resources: { cpuMilli: 1_000, memoryMib: 256, diskMib: 0, gpus: 0 },
      runMsMax: 60_000
    }
  })
  yield* succeeded(analyst, jobId, yield* watch(analyst, jobId, telling, cut))
  const { artefacts } = yield* analyst.client.bytes.artefacts({ params: { jobId }, query: {} })
  const made = artefacts.find(({ name }) => name.endsWith("growth.json"))
  if (made === undefined) return yield* wrong("the job kept no growth.json")
  const figures = yield* asked<ReadonlyArray<{ readonly region: string }>>(analyst, `/v1/jobs/${jobId}/artefacts/${encodeURIComponent(made.name)}`)
  telling.note("downloaded", `${artefacts.map(({ name, sizeBytes }) => `${name} (${sizeBytes} bytes)`).join(", ")}; in growth.json ${figures[0]?.region} comes first`)
  return { jobId }
})

interface Usage {
  readonly rows: ReadonlyArray<{ readonly attempt: number; readonly phase: string; readonly ms: number; readonly amountPico: string; readonly settled: boolean }>
  readonly total: { readonly amountPico: string; readonly lostMs: number }
}

const itsCost = Effect.fnUntraced(function*(owner: Speaker, { jobId }: { readonly jobId: string }, telling: Telling) {
  const { cut } = yield* owner.client.jobs.show({ params: { jobId }, query: {} })
  const usage = yield* asked<Usage>(owner, `/v1/usage?job=${jobId}&by=job&waitMs=10000&after=${cutOf(cut)}`)
  for (const { amountPico, attempt, ms, phase } of usage.rows) {
    telling.note(`attempt ${attempt}`, `${phase.padEnd(12)} ${String(ms).padStart(7)} ms   ${moneyText(BigInt(amountPico))}`)
  }
  telling.note("in all", `${moneyText(BigInt(usage.total.amountPico))}${usage.total.lostMs > 0 ? `, and ${usage.total.lostMs} ms that were lost with their machine and cost nothing` : ""}; the rest of what was set aside is given back`)
  return usage
})

const overreaching = Effect.fnUntraced(function*(analyst: Speaker, owner: Speaker, grant: GrantId, telling: Telling) {
  const files = [yield* putExample(analyst, "overreach.js")]
  const { cut, jobId } = yield* analyst.client.jobs.submit({
    headers: {},
    payload: {
      ...plain,
      name: "overreach" as never,
      argv: ["node", "/work/overreach.js", grant, "main"],
      files,
      resources: { cpuMilli: 1_000, memoryMib: 256, diskMib: 0, gpus: 0 },
      runMsMax: 60_000
    }
  })
  const end = yield* watch(analyst, jobId, telling, cut)
  yield* succeeded(analyst, jobId, end)
  const { decisions } = yield* asked<{ readonly decisions: ReadonlyArray<{ readonly action: string; readonly reason: string; readonly missing: { readonly limit?: string } | null }> }>(
    owner,
    `/v1/decisions?principal=${agent}&verdict=deny&waitMs=10000&after=${cutOf(end)}`
  )
  telling.note("in the audit", `${decisions.length} refusals: ${decisions.map(({ action, missing, reason }) => `${action} (${missing?.limit ?? reason})`).join(", ")}`)
  if (decisions.length < 4) return yield* wrong(`the audit holds ${decisions.length} refusals, and four things were refused`)
})

interface Leases {
  readonly leases: ReadonlyArray<{
    readonly hostId: string | null
    readonly machine: string | null
    readonly machineType: string
    readonly provider: string
    readonly pricePicoPerHour: string | null
  }>
}

/** Seconds that the second job counts. */
const primesS = 4

const onALostMachine = Effect.fnUntraced(function*({ leaseMs, skyUrl }: Stage, owner: Speaker, telling: Telling) {
  const files = [yield* putExample(owner, "twin-primes.js")]
  const { cut, jobId } = yield* owner.client.jobs.submit({
    headers: {},
    payload: {
      ...plain,
      name: "twin-primes" as never,
      trust: "others",
      argv: ["node", "/work/twin-primes.js", String(primesS)],
      files,
      resources: { cpuMilli: availableParallelism() * 1_000, memoryMib: 256, diskMib: 0, gpus: 0 },
      onSilence: { keepMs: leaseMs },
      runMsMax: 120_000
    }
  })
  const started = yield* Latch.make(false)
  let hostId: string | undefined
  const killing = yield* Effect.forkChild(Effect.gen(function*() {
    yield* started.await
    const { leases } = yield* asked<Leases>(owner, "/v1/leases?stands=held")
    const lease = leases.find((one) => one.hostId === hostId)
    const machine = lease?.machine
    if (lease === undefined || machine === undefined || machine === null) return yield* wrong(`no lease says which machine ${hostId} is`)
    telling.note("rented", `${machine}, a ${lease.machineType} of the pretend ${lease.provider}, at ${moneyText(BigInt(lease.pricePicoPerHour ?? "0"))} an hour`)
    yield* Effect.sleep("1500 millis")
    yield* asked({ url: skyUrl, token: "" }, "/sky/crash", { method: "POST", body: JSON.stringify({ machine }) })
    telling.note("killed", `the machine ${machine} under it, while it runs`)
  }))
  const end = yield* watch(owner, jobId, telling, cut, ({ name, text }) => {
    if (name === "PlacementMade") hostId ??= /hst_[0-9A-Z]{26}/u.exec(text)?.[0]
    if (name === "AttemptStarted") started.openUnsafe()
  })
  yield* Effect.timeoutOption(Fiber.join(killing), "1 second")
  const job = yield* succeeded(owner, jobId, end)
  if (job.attempt < 2) return yield* wrong("the machine was to die under the first attempt, and there was no second")
  return { jobId }
})

/** What all jobs of the story share. */
const plain = { env: {}, labels: {}, attemptsMax: 1, onSilence: { keepMs: 300_000 } } as const

const succeeded = Effect.fnUntraced(function*(speaker: Speaker, jobId: string, after: Cut) {
  const { job } = yield* speaker.client.jobs.show({ params: { jobId }, query: { after: cutOf(after), waitMs: 10_000 } })
  return job.state === "succeeded" ? job : yield* wrong(`the job ${job.name ?? jobId} ${job.state}: ${job.because ?? "no word why"}`)
})

const cutOf = (cut: Cut): string => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
