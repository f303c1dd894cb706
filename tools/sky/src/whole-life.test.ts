import { assert, describe, it } from "@effect/vitest"
import { accessProcess } from "@millrace/access"
import { broker, brokerProcess, comparable } from "@millrace/broker"
import { deriveId } from "@millrace/decider"
import { startStack } from "@millrace/dev/stack"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Journal, type JournalShape, readable, verify } from "@millrace/journal"
import { type FactId, type MillFact, Principal, type StreamName, WorkspaceName } from "@millrace/schemas"
import { digestOfToken, logLayer, processConfig, Readiness, readSettings, serviceLayer, settingsSource, type Service } from "@millrace/service"
import { Clock, Context, Effect, Layer } from "effect"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Cloud, CloudRoom } from "./cloud.ts"
import { coreWeaveCloud } from "./coreweave/coreweave-api.ts"
import { ec2Cloud } from "./ec2/ec2-api.ts"
import { lambdaCloud } from "./lambda/lambda-api.ts"
import { agents } from "./machines.ts"
import { startSky } from "./sky.ts"
import { vastCloud } from "./vast/vast-api.ts"

const ownerToken = "mill_owner-of-the-whole-life"
const workspace = WorkspaceName.make("main")

/** Says as the scheduler what waits, and that it knows of every host that has joined by now. */
const waits = Effect.fnUntraced(function*(scheduler: JournalShape, waiting: number) {
  const atMs = yield* Clock.currentTimeMillis
  const sequence = yield* scheduler.head("SCHEDULER")
  const saw = { HOSTS: yield* scheduler.head("HOSTS"), ACCESS: yield* scheduler.head("ACCESS") }
  const id = deriveId<FactId>("fct", atMs, "demand", sequence)
  const classes = waiting === 0 ? [] : [{ cpuMilli: 800, memoryMib: 300, gpus: 0, gpuModels: [], waiting, oldestSinceMs: atMs }]
  yield* scheduler.append({
    subject: { kind: "demand", scope: "cell" },
    actor: Principal.make("service:scheduler"),
    happenedAtMs: atMs,
    facts: [{ id, partOf: id, event: { _tag: "DemandChanged", classes } }],
    decided: { saw, decidedAtMs: atMs, ordinal: 0, of: 1 }
  }, { last: "stream", sequence })
})

/** Reads a stream from its beginning until a fact of that name has come. */
const until = <Tag extends MillFact["_tag"]>(journal: JournalShape, stream: StreamName, tag: Tag) =>
  Effect.scoped(Effect.gen(function*() {
    const reader = yield* journal.read(stream, { after: 0 })
    while (true) {
      for (const commit of yield* reader.take) {
        const found = readable(commit).facts.find(({ event }) => event._tag === tag)
        if (found !== undefined) return found.event as Extract<MillFact, { _tag: Tag }>
      }
    }
  })).pipe(Effect.timeout("60 seconds"), Effect.mapError((error) => new Error(`${tag} has not come on ${stream}: ${error._tag}`)))

const keptIn = (folder: string, name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** Where a cell buys: the pretend cloud, and its entry in the providers' file. */
interface Vendor {
  readonly cloud: Cloud<CloudRoom>
  readonly entry: (folder: string) => Record<string, unknown>
}

const aws = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "a-secret-of-the-sky" }
const cluster = coreWeaveCloud({ token: "a-token-of-the-sky" })
const vendors: Readonly<Record<"lambda" | "ec2" | "vast" | "coreweave", Vendor>> = {
  coreweave: {
    cloud: cluster,
    entry: (folder) => ({
      keyFile: keptIn(folder, "sky.token", "a-token-of-the-sky\n"),
      everyMs: { any: 10, create: 10 },
      coreweave: {
        region: "US-EAST-04A",
        image: "docker.io/millrace/host",
        caFile: keptIn(folder, "ca.pem", cluster.tls?.ca ?? ""),
        prices: [{ instanceType: "cd-small", vcpus: 1, memoryGib: 1, diskGib: 10, gpus: 0, fabric: false, dollarsPerHour: "0.06", spotDollarsPerHour: "0.03", source: "the sky's" }]
      }
    })
  },
  lambda: {
    cloud: lambdaCloud({ apiKey: "a-key-of-the-sky", everyMs: { any: 10, launch: 50 } }),
    entry: (folder) => ({ keyFile: keptIn(folder, "sky.key", "a-key-of-the-sky\n"), everyMs: { any: 20, create: 100 } })
  },
  vast: {
    cloud: vastCloud({ apiKey: "a-key-of-the-sky", pace: 0.005, market: { offerMs: Number.POSITIVE_INFINITY, rivalMs: Number.POSITIVE_INFINITY } }),
    entry: (folder) => ({
      keyFile: keptIn(folder, "sky.key", "a-key-of-the-sky\n"),
      everyMs: { any: 60, create: 60 },
      images: { machine: "docker.io/millrace/host-vm", container: "docker.io/millrace/host" }
    })
  },
  ec2: {
    cloud: ec2Cloud(aws),
    entry: (folder) => ({
      keyFile: keptIn(folder, "credentials", `[default]\naws_access_key_id = ${aws.accessKeyId}\naws_secret_access_key = ${aws.secretAccessKey}\n`),
      ec2: {
        regions: ["us-east-1", "us-west-2"],
        image: "resolve:ssm:/millrace/host",
        priceFile: keptIn(folder, "prices.json", JSON.stringify({ source: "the sky's", regions: { "us-east-1": { "t3.small": "0.0208" }, "us-west-2": { "t3.medium": "0.0416" } } }))
      }
    })
  }
}

/** The real access and broker, on a real log, under a sky whose machines run the real agent. */
const cellAt = Effect.fnUntraced(function*(speaks: keyof typeof vendors, namespaces: boolean) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-sky-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  )
  const stack = yield* startStack({ folder, freePorts: true, databaseUrl: yield* testDatabase() })
  const { cloud, entry } = vendors[speaks]
  const { sky } = yield* startSky({ clouds: { sky: cloud }, power: agents({ folder: join(folder, "machines"), namespaces }) })
  const port = yield* freePort
  const agentSettings = ["MILLRACE_NATS_URL", "MILLRACE_ACCESS_URL", "MILLRACE_CELL_KEY_PUBLIC", "MILLRACE_KEYS", "MILLRACE_BLOBS"].map((name) => `${name}=${stack.env[name]}`).join("\n")
  const providers = { providers: [{ name: speaks, speaks, endpoint: sky.url, visibleWithinMs: 1_000, ...entry(folder) }] }
  const env = {
    ...stack.env,
    MILLRACE_OWNER: keptIn(folder, "owner.json", JSON.stringify({ digest: digestOfToken(ownerToken), principal: "user:owner", workspace })),
    MILLRACE_CELL: "whole-life",
    MILLRACE_BROKER_PORT: String(port),
    MILLRACE_BROKER_KEY: join(folder, "keys", "broker.key"),
    MILLRACE_PROVIDERS: keptIn(folder, "providers.json", JSON.stringify(providers)),
    MILLRACE_AGENT_SETTINGS: keptIn(folder, "agent.env", agentSettings),
    MILLRACE_BROKER_IDLE_S: "3",
    MILLRACE_BROKER_SWEEP_S: "1",
    MILLRACE_BROKER_OFFERS_S: "1"
  }
  const source = yield* settingsSource(env)
  const around = yield* readSettings(processConfig, source)
  const all: ReadonlyArray<Service<any, any>> = [accessProcess, brokerProcess]
  for (const one of all) yield* Layer.build(serviceLayer(one, yield* readSettings(one.config, source), around))
  yield* Readiness.use(({ whenReady }) => whenReady).pipe(Effect.timeout("60 seconds"))
  const journalOf = (name: "scheduler" | "reader") =>
    Effect.map(Layer.build(logLayer(name, { servers: stack.natsUrl, credentials: stack.credentials })), (context) => Context.get(context, Journal))
  return { sky, folder, api: `http://127.0.0.1:${port}`, scheduler: yield* journalOf("scheduler"), reader: yield* journalOf("reader") }
}, Effect.provide(Readiness.layer))

const asked = (url: string, token = ownerToken) =>
  Effect.promise(async () => {
    const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    return { status: answer.status, body: JSON.parse(await answer.text()) as any }
  })

describe("a rented machine, from what waits to the provider's last word", () => {
  it.live.each([["lambda", 1000, 10, "on this machine"], ["ec2", 2000, 10, "in a network namespace"], ["vast", 1000, 10, "on this machine"], ["coreweave", 1000, 4, "on this machine"]] as const)("is bought from %s, joins, is given back and has ended, at what the ledger says", ([speaks, cpuMilli, offers, where]) =>
    Effect.scoped(Effect.gen(function*() {
      const { api, folder, reader, scheduler, sky } = yield* cellAt(speaks, where !== "on this machine")
      yield* waits(scheduler, 1)
      const granted = yield* until(reader, "BROKER", "LeaseGranted")
      const enrolled = yield* until(reader, "BROKER", "MachineEnrolled").pipe(Effect.tapError(() => Effect.sync(() => console.error(agentLog(folder, granted.machine)))))
      assert.strictEqual(enrolled.leaseId, granted.leaseId)
      // It came through the doors of its namespace, and there are none where it has no namespace.
      assert.strictEqual(existsSync(join(folder, "machines", speaks === "coreweave" ? "" : granted.machine, "doors")), where !== "on this machine")
      const joined = yield* until(reader, "HOSTS", "HostJoined")
      assert.deepStrictEqual([joined.hostId, joined.capabilities.resources.cpuMilli], [enrolled.hostId, cpuMilli])
      // What waited is placed; nothing more is bought for it.
      yield* waits(scheduler, 0)
      const held = yield* asked(`${api}/v1/leases?stands=held`)
      assert.strictEqual(held.status, 200, JSON.stringify(held.body))

      const ended = yield* until(reader, "BROKER", "LeaseEnded")
      assert.deepStrictEqual(sky.books.running, [])
      const [bill] = sky.books.bills(ended.endedAtMs)
      // A pool is what is rented at CoreWeave, and its machine has a name of its own.
      assert.deepStrictEqual([sky.books.all.length, speaks === "coreweave" ? bill?.name : bill?.machine], [1, granted.machine])
      // Both count at least a minute from the launch on; the price list's cents an hour are no whole pico-dollars a second.
      // Who counts each second counts from the call to the request to end, and we from before it until a look misses the machine.
      const moreMs = granted.billedMsMin > 0 ? 0 : (bill?.sinceMs ?? 0) - (granted.billedSinceMs ?? 0) + ended.endedAtMs - (bill?.endedAtMs ?? 0) + 2_000
      const difference = ended.costPico - (bill?.costPico ?? 0n)
      assert.isTrue(difference >= 0n && difference < 1_000_000n + (granted.pricePicoPerSecond * BigInt(moreMs)) / 1000n, `ours ${ended.costPico}, the ledger's ${bill?.costPico}`)
      const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, reader))
      assert.deepStrictEqual(verdict.mismatches, [])

      const cut = `BROKER=${yield* reader.head("BROKER")}`
      const { body } = yield* asked(`${api}/v1/leases?after=${cut}&waitMs=10000`)
      assert.deepInclude(body.leases[0], { leaseId: granted.leaseId, stands: "ended", costPico: ended.costPico.toString(), hostId: enrolled.hostId })
      const capacity = yield* asked(`${api}/v1/capacity?after=${cut}&waitMs=10000`)
      assert.deepStrictEqual([capacity.body.open.machines, capacity.body.leaks.leases], [0, []])
      assert.isAbove(capacity.body.offers.length, offers)
      const before = yield* asked(`${api}/v1/leases?at=BROKER=1`)
      assert.deepStrictEqual(before.body.leases, [])
      assert.strictEqual((yield* asked(`${api}/v1/leases`, "mill_nobody")).status, 401)
      assert.strictEqual((yield* asked(`${api}/v1/leases?stands=lost`)).body.code, "request_malformed")
    })))
})

const agentLog = (folder: string, machine: string): string => {
  try {
    return readFileSync(join(folder, "machines", machine, "agent.log"), "utf8").slice(-4000)
  } catch (error) {
    return String(error)
  }
}
