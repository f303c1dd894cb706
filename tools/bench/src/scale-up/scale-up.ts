import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { Checkpoints, Journal, memoryJournal, MemoryLog, readable } from "@millrace/journal"
import { type DemandClass, type FactId, type HostId, type MillFact, Principal, type ProviderName, type StreamName, type Subject } from "@millrace/schemas"
import { ec2Cloud, lambdaCloud, type Machine, type Power, startSky } from "@millrace/sky"
import { Clock, Effect, Queue, Redacted, References, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { hash } from "node:crypto"
import { Providers } from "../../../../services/broker/src/providers/all.ts"
import { ec2 } from "../../../../services/broker/src/providers/ec2.ts"
import { lambda } from "../../../../services/broker/src/providers/lambda.ts"
import { BrokerSecret } from "../../../../services/broker/src/reactors/one-time-key.ts"
import { buying } from "../../../../services/broker/src/service.ts"
import { attemptAt } from "../../../../services/broker/src/testing/attempt.ts"
import { rounded } from "../figures.ts"
import type { Bench } from "../main.ts"
import { fastTime } from "./fast-time.ts"

/** Eight H100s each. */
const gpusEach = 8
const usual = { gpus: 1_000, factor: 20 }
const few = { gpus: 96, factor: 60 }
/** The documented limits: one launch in 12 s at Lambda; a bucket of five with two a second at EC2. */
const lambdaEveryMs = 12_000
const amazonEveryMs = 500
/** From the request until a machine of eight is up, as users report it; nobody promises one. */
const bootMs = { lambda: 300_000, amazon: 240_000 }
/** EC2 has no more of them: what is left must come from the others. */
const amazonStock = (machines: number): number => Math.round(machines * 0.48)
const lambdaAccounts = ["lambda-a", "lambda-b", "lambda-c"] as const
const waitMsMax = 3_600_000
const settleMs = 120_000

const unit: typeof DemandClass.Type = { cpuMilli: 16_000, memoryMib: 131_072, gpus: gpusEach, gpuModels: ["H100"], waiting: 1, oldestSinceMs: 0 }

/** The soonest that anybody could have so many machines, asking each provider as fast as it lets itself be asked. */
const floorMs = (machines: number): number => {
  const had = (atMs: number): number =>
    lambdaAccounts.length * Math.max(0, Math.floor((atMs - bootMs.lambda) / lambdaEveryMs) + 1) +
    Math.min(amazonStock(machines), Math.max(0, Math.floor((atMs - bootMs.amazon) / amazonEveryMs) + 1))
  let atMs = 0
  while (had(atMs) < machines) atMs += 1_000
  return atMs
}

/**
 * From nothing to a thousand GPUs over real clients and sockets: three accounts of one cloud with hard limits, and one
 * that soon has no more. All time runs faster by the factor, the clouds' and the broker's; what we compute does not.
 */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> => {
  const { factor, gpus } = quick ? few : usual
  const machines = Math.ceil(gpus / gpusEach)
  return Effect.gen(function*() {
    const log = new MemoryLog()
    const journal = memoryJournal(log)
    const up = yield* Queue.unbounded<Machine>()
    const clock = yield* Clock.Clock
    const power: Power = {
      on: (machine) => void setTimeout(() => Queue.offerUnsafe(up, machine), Math.max(0, machine.bootsAtMs - clock.currentTimeMillisUnsafe()) / factor),
      off: () => undefined, crash: () => false, allOff: () => Promise.resolve()
    }
    const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "a-secret-of-the-bench" }
    const sky = yield* startSky({
      clouds: {
        "lambda-a": lambdaCloud({ apiKey: "a", bootMs: bootMs.lambda, endMs: 10_000 }),
        "lambda-b": lambdaCloud({ apiKey: "b", bootMs: bootMs.lambda, endMs: 10_000 }),
        "lambda-c": lambdaCloud({ apiKey: "c", bootMs: bootMs.lambda, endMs: 10_000 }),
        amazon: ec2Cloud({ ...key, bootMs: bootMs.amazon, endMs: 10_000, skewMsMax: Number.POSITIVE_INFINITY })
      },
      power
    })
    sky.amazon.weather.set({ stock: { "p5.48xlarge": amazonStock(machines) } })
    const lambdas = yield* Effect.forEach(lambdaAccounts, (name) =>
      lambda({ name: name as ProviderName, endpoint: sky[name].url, apiKey: Redacted.make(name.slice(-1)), sshKey: "millrace" }).pipe(Effect.provide(FetchHttpClient.layer)))
    const amazon = yield* ec2({
      name: "amazon" as ProviderName, endpoint: sky.amazon.url, credentials: () => Promise.resolve(key),
      prices: { source: "Amazon's list, 2026-11", regions: { "us-east-1": { "p5.48xlarge": "55.04" } } },
      settings: { regions: ["us-east-1"], image: "resolve:ssm:/millrace/host" }, can: { requestsEvery: { anyMs: 50, createMs: amazonEveryMs } }
    })
    const providers = new Map([...lambdas, amazon].map((provider) => [provider.name, provider]))

    const hear = (subject: Subject, event: MillFact, saw?: Record<string, number>) => Effect.gen(function*() {
      const stream = log.streamOf(`mill.${subject.kind}.${subject.scope}`) as StreamName
      const [sequence, happenedAtMs] = [log.head(stream), yield* Clock.currentTimeMillis]
      const id = deriveId<FactId>("fct", happenedAtMs, stream, sequence)
      const decided = saw === undefined ? {} : { decided: { saw, decidedAtMs: happenedAtMs, ordinal: 0, of: 1 } }
      yield* journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs, facts: [{ id, partOf: id, event }], ...decided }, { last: "stream", sequence })
    })
    let waiting = machines
    const demand = Effect.suspend(() => hear({ kind: "demand", scope: "cell" }, { _tag: "DemandChanged", classes: waiting === 0 ? [] : [{ ...unit, waiting }] }, { HOSTS: log.head("HOSTS"), ACCESS: log.head("ACCESS") }))
    const join = Effect.fnUntraced(function*(machine: Machine) {
      const hostId = namedId<HostId>("hst", `${machine.cloud} ${machine.id}`)
      const oneTimeKey = /"content": "([\w-]+)\\n"/u.exec(machine.userData)?.[1] ?? ""
      yield* hear({ kind: "admission", scope: "cell" }, { _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: Principal.make("service:access"), oneTimeKeyDigest: `sha256:${hash("sha256", oneTimeKey, "hex")}` as never })
      yield* hear({ kind: "host", scope: hostId }, {
        _tag: "HostJoined", hostId, bootId: "b", agentVersion: "1",
        capabilities: {
          resources: { cpuMilli: machine.ware.vcpus * 1000, memoryMib: machine.ware.memoryGib * 1000, diskMib: 0, gpus: gpusEach },
          gpus: Array.from({ length: gpusEach }, (_, index) => ({ index, model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 })), runtimes: ["noop"], trusts: ["own"], labels: {}
        }
      })
      if (waiting === 0) return
      waiting -= 1
      yield* hear({ kind: "placement", scope: hostId }, attemptAt(hostId, machine.id).placed)
      yield* demand
    })

    const cpuBefore = process.cpuUsage()
    yield* Effect.forkScoped(buying({
      bounds: { cell: "bench", machinesMax: machines * 2, spendPicoPerHourMax: 10n ** 17n, answerMsMax: 300_000, bootMsMax: 900_000, idleMsMax: 600_000 }, agentSettings: ""
    }).pipe(
      Effect.provideService(Providers, providers), Effect.provideService(Journal, journal), Effect.provideService(BrokerSecret, Redacted.make("a secret of the bench")),
      Effect.provide([Checkpoints.layerMemory, Blobs.memory])
    ))
    const beganAtMs = yield* Clock.currentTimeMillis
    yield* demand
    const readyAtMs: Array<number> = []
    while (waiting > 0) {
      const machine = yield* Effect.timeout(Queue.take(up), waitMsMax)
      yield* join(machine)
      readyAtMs.push((yield* Clock.currentTimeMillis) - beganAtMs)
      if (readyAtMs.length % 16 === 0) say(`${readyAtMs.length * gpusEach} of ${machines * gpusEach} GPUs after ${Math.round(readyAtMs.at(-1)! / 1000)} s`)
    }
    const tookMs = readyAtMs.at(-1)!
    const cpu = process.cpuUsage(cpuBefore)
    // What was asked for too much comes, is given back, and counts.
    yield* Effect.sleep(settleMs)
    const all = [...lambdaAccounts, "amazon" as const].map((name) => ({ name, made: sky[name].books.all.length }))
    const bought = all.reduce((sum, { made }) => sum + made, 0)
    const said = log.after("BROKER", 0, undefined, Number.POSITIVE_INFINITY).commits.flatMap((commit) => readable(commit).facts.map(({ event }) => event._tag))
    const count = (tag: MillFact["_tag"]): number => said.filter((one) => one === tag).length
    const least = floorMs(machines)
    return {
      about: `from 0 to ${machines * gpusEach} GPUs, ${gpusEach} a machine, at three accounts of Lambda and one of EC2 that has ${amazonStock(machines)}; real clients and sockets, the log in memory`,
      factor,
      boot_s: { lambda: bootMs.lambda / 1000, ec2: bootMs.amazon / 1000 },
      ready_s: rounded(tookMs / 1000),
      floor_s: least / 1000,
      over_floor: rounded(tookMs / least),
      ready_p50_s: rounded(readyAtMs[Math.floor(readyAtMs.length / 2)]! / 1000),
      bought: { all: bought, ...Object.fromEntries(all.map(({ made, name }) => [name, made])) },
      bought_too_much_percent: rounded(((bought - machines) / machines) * 100),
      refused: count("LeaseRefused"),
      withdrawn: count("LeaseWithdrawn"),
      broker_cpu_s: rounded((cpu.user + cpu.system) / 1e6)
    }
  }).pipe(Effect.provideService(Clock.Clock, fastTime(factor)), Effect.provideService(References.MinimumLogLevel, "Error"))
}
