import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { Checkpoints, CrashPoints, Journal, type JournalShape, memoryJournal, MemoryLog, readable, withCrashPoints } from "@millrace/journal"
import {
  type AttemptId, type DemandClass, type FactId, type HostId, type JobId, type MillFact, type PlacementMade, Principal, type ProviderName, type StreamName,
  type Subject, type WarrantId, WorkspaceName
} from "@millrace/schemas"
import { type Cloud, type CloudRoom, dark, type LambdaApi, lambdaCloud, type Machine, Site, type Weather } from "@millrace/sky"
import { Clock, Effect, Fiber, Layer, Redacted, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { hash } from "node:crypto"
import { Providers } from "../providers/all.ts"
import { lambda } from "../providers/lambda.ts"
import type { Provider } from "../providers/provider.ts"
import { BrokerSecret } from "../reactors/one-time-key.ts"
import { buying, type BuyingOptions } from "../service.ts"

/** A cloud to live under, and its real client: by the way of HTTP that it is provided, or by one of its own to the cloud's room. */
export interface Vendor<Room extends CloudRoom> {
  readonly name: ProviderName
  readonly cloud: Cloud<Room>
  readonly client: (room: Room) => Effect.Effect<Provider, never, HttpClient.HttpClient>
}

const lambdaName = "lambda" as ProviderName

export const atLambda: Vendor<LambdaApi> = {
  name: lambdaName,
  cloud: lambdaCloud({ apiKey: "right", bootMs: 5_000, endMs: 3_000 }),
  client: () => lambda({ name: lambdaName, endpoint: "http://sky", apiKey: Redacted.make("right"), sshKey: "millrace" })
}

export const small: typeof DemandClass.Type = { cpuMilli: 1000, memoryMib: 500, gpus: 0, gpuModels: [], waiting: 1, oldestSinceMs: 0 }

/** The adapter's way to a sky in this process: the same client, without a socket, in the test's own time. */
const wired = (api: CloudRoom): HttpClient.HttpClient =>
  HttpClient.make((request, url) => Effect.gen(function*() {
    const atMs = yield* Clock.currentTimeMillis
    const body = request.body._tag === "Uint8Array" ? Buffer.from(request.body.body).toString("utf8") : ""
    const answer = api.answer({ method: request.method, path: url.pathname, url: `${url.pathname}${url.search}`, query: url.searchParams, headers: request.headers, body, atMs })
    if (answer.cut === true) {
      return yield* new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause: new Error("the connection broke") }) })
    }
    return HttpClientResponse.fromWeb(request, new Response(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body), { status: answer.status, headers: { "content-type": "application/json", ...answer.headers } }))
  }))

const placement = (hostId: HostId, about: string): PlacementMade => {
  const jobId = namedId<JobId>("job", about)
  const fence = { epoch: 1, sequence: 1 }
  const resources = { cpuMilli: 1000, memoryMib: 500, diskMib: 0, gpus: 0 }
  return {
    _tag: "PlacementMade", jobId, workspace: WorkspaceName.make("acme"), hostId, attempt: 1, attemptId: namedId<AttemptId>("att", about), fence,
    spec: { runtime: "noop", trust: "own", resources, attemptsMax: 1, runMsMax: 60_000, onSilence: { keepMs: 0 } },
    warrant: { warrantId: namedId<WarrantId>("wrt", about), hostId, jobId, attempt: 1, fence, resources, grantPath: [], expiresAtMs: 1, view: {} },
    signature: "", reason: "there is room"
  }
}

const whichOf = ({ attempt, attemptId, fence, hostId, jobId, workspace }: PlacementMade) => ({ attempt, attemptId, fence, hostId, jobId, workspace })

export interface LifeOptions {
  readonly weather?: Partial<Weather>
  /** Dies where the so-manieth crash point is passed; 0: never. */
  readonly dieAt?: number
  readonly machinesMax?: number
  readonly spendPicoPerHourMax?: bigint
  /** What bounds what is rented from each provider. */
  readonly limits?: BuyingOptions["bounds"]["limits"]
  /** Hosts that join get a job that waits, and it ends after five seconds. As by default. */
  readonly works?: boolean
  /** Who solves plans, and how often. */
  readonly plans?: BuyingOptions["plans"]
  /** How often a step of time lets promises settle that are outside of the test's time: more for a client with more of them. */
  readonly turns?: number
}

/** Nobody answers at a cloud that is down; elsewhere that is its server's to say. */
const orDown = <Room extends CloudRoom>(room: Room, { sky }: Site): Room => {
  const answer = room.answer.bind(room)
  return Object.assign(room, { answer: (request: Parameters<Room["answer"]>[0]) => (sky.now.down ? { status: 0, body: "", cut: true } : answer(request)) })
}

/** A cell's life around one broker: a log, a pretend cloud, hosts that join when their machine is up, and time. */
export class Life<Room extends CloudRoom = LambdaApi> {
  readonly log = new MemoryLog()
  readonly journal: JournalShape = memoryJournal(this.log)
  readonly site: Site
  readonly api: Room
  readonly points: Array<string> = []
  readonly #options: LifeOptions
  readonly #vendor: Vendor<Room>
  readonly #joined = new Set<string>()
  #dead = false
  #nowMs = 0
  #waiting: ReadonlyArray<typeof DemandClass.Type> = []
  lives = 0

  constructor(vendor: Vendor<Room>, options: LifeOptions = {}) {
    this.#options = options
    this.#vendor = vendor
    const { open, ...cloud } = vendor.cloud
    this.site = new Site({ ...cloud, cloud: vendor.name, power: dark, ...(options.weather === undefined ? {} : { weather: options.weather }) })
    this.api = orDown(open(this.site), this.site)
  }

  get books() {
    return this.site.books
  }

  get sky() {
    return this.site.sky
  }

  /** One broker, until it dies or the scope ends; then the next. */
  readonly run = Effect.gen({ self: this }, function*() {
    const checkpoints = yield* Layer.build(Checkpoints.layerMemory)
    const blobs = yield* Layer.build(Blobs.memory)
    yield* Effect.forkScoped(Effect.gen({ self: this }, function*() {
      while (true) {
        this.#dead = false
        this.lives += 1
        const one = yield* Effect.forkChild(this.broker.pipe(Effect.provide(checkpoints), Effect.provide(blobs), Effect.exit))
        while (!this.#dead && one.pollUnsafe() === undefined) yield* Effect.sleep(100)
        yield* Fiber.interrupt(one)
        yield* Effect.sleep(1_000)
      }
    }))
  })

  get broker() {
    return Effect.gen({ self: this }, function*() {
      const { client, name } = this.#vendor
      const provider = yield* client(this.api).pipe(Effect.provideService(HttpClient.HttpClient, wired(this.api)))
      const { limits, machinesMax = 4, spendPicoPerHourMax = 10_000_000_000_000n } = this.#options
      return yield* buying({
        bounds: { cell: "test", machinesMax, spendPicoPerHourMax, answerMsMax: 120_000, bootMsMax: 60_000, idleMsMax: 30_000, ...(limits === undefined ? {} : { limits }) },
        agentSettings: "",
        checkpointEvery: 20,
        ...(this.#options.plans === undefined ? {} : { plans: this.#options.plans })
      }).pipe(Effect.provideService(Providers, new Map([[name, provider]])))
    }).pipe(
      Effect.provideService(Journal, withCrashPoints(this.journal)),
      Effect.provideService(BrokerSecret, Redacted.make("a secret of the test")),
      Effect.provideService(CrashPoints, (point) => Effect.suspend(() => {
        this.points.push(point)
        if (this.points.length !== this.#options.dieAt) return Effect.void
        this.#dead = true
        return Effect.never
      }))
    )
  }

  /** The cloud takes back one of the machines that run, after so long. */
  reclaim(which: (several: ReadonlyArray<Machine>) => Machine, noticeMs: number): void {
    const running = this.books.running.filter(({ reclaimAtMs, stands }) => stands === "active" && reclaimAtMs === undefined)
    if (running.length === 0) return
    const machine = which(running)
    const how = { atMs: this.#nowMs, noticeMs }
    if (this.api.reclaim === undefined) this.site.reclaim(machine, how)
    else this.api.reclaim(machine, how)
  }

  /** Says a fact of another service. */
  readonly hear = Effect.fnUntraced({ self: this }, function*(subject: Subject, event: MillFact, saw?: Record<string, number>) {
    const happenedAtMs = yield* Clock.currentTimeMillis
    const stream = this.log.streamOf(`mill.${subject.kind}.${subject.scope}`) as StreamName
    const sequence = this.log.head(stream)
    const id = deriveId<FactId>("fct", happenedAtMs, stream, sequence)
    const decided = saw === undefined ? {} : { decided: { saw, decidedAtMs: happenedAtMs, ordinal: 0, of: 1 } }
    yield* this.journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs, facts: [{ id, partOf: id, event }], ...decided }, { last: "stream", sequence })
  })

  /** The scheduler says what waits, knowing of every host that has joined by now. */
  waits(...classes: ReadonlyArray<typeof DemandClass.Type>) {
    this.#waiting = classes
    return this.hear({ kind: "demand", scope: "cell" }, { _tag: "DemandChanged", classes }, { HOSTS: this.log.head("HOSTS"), ACCESS: this.log.head("ACCESS") })
  }

  /** Lets time pass, in small steps: machines that are up have their host join, with the key from their user data. */
  readonly pass = Effect.fnUntraced({ self: this }, function*(ms: number, stepMs = 500) {
    for (let passed = 0; passed < ms; passed += stepMs) {
      yield* TestClock.adjust(stepMs)
      // The client's own promises settle outside of the test's time.
      for (let turn = 0; turn < (this.#options.turns ?? 3); turn += 1) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      const atMs = yield* Clock.currentTimeMillis
      this.#nowMs = atMs
      this.site.settle(atMs)
      this.api.settle?.(atMs)
      for (const machine of this.books.running) {
        if (machine.stands !== "active" || !machine.powered || this.#joined.has(machine.id)) continue
        this.#joined.add(machine.id)
        yield* this.#join(machine)
        const [first, ...others] = this.#waiting
        if (this.#options.works === false || first === undefined) continue
        yield* this.#work(machine)
        yield* this.waits(...(first.waiting > 1 ? [{ ...first, waiting: first.waiting - 1 }] : []), ...others)
      }
    }
  })

  #join(machine: Machine) {
    const hostId = namedId<HostId>("hst", machine.id)
    const key = /"content": "([\w-]+)\\n"/u.exec(machine.userData)?.[1] ?? ""
    return Effect.andThen(
      this.hear({ kind: "admission", scope: "cell" }, { _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: Principal.make("service:access"), oneTimeKeyDigest: `sha256:${hash("sha256", key, "hex")}` }),
      this.hear({ kind: "host", scope: hostId }, {
        _tag: "HostJoined", hostId, bootId: "b", agentVersion: "1",
        capabilities: { resources: { cpuMilli: machine.ware.vcpus * 1000, memoryMib: Math.floor(machine.ware.memoryGib * 900), diskMib: 0, gpus: machine.ware.gpus }, gpus: [], runtimes: ["noop"], trusts: ["own"], labels: {} }
      })
    )
  }

  #work(machine: Machine) {
    const hostId = namedId<HostId>("hst", machine.id)
    const made = placement(hostId, machine.id)
    const exit = this.hear({ kind: "attempt", scope: hostId }, { ...whichOf(made), _tag: "AttemptExited", bootId: "b", hostMs: 1, cause: "exited", code: 0 })
    return Effect.andThen(this.hear({ kind: "placement", scope: hostId }, made), Effect.forkScoped(Effect.andThen(Effect.sleep(5_000), Effect.orDie(exit))))
  }

  /** Every fact of a name that the broker has said, in order. */
  said<Tag extends MillFact["_tag"]>(tag: Tag): ReadonlyArray<Extract<MillFact, { _tag: Tag }>> {
    return this.log.after("BROKER", 0, undefined, Number.POSITIVE_INFINITY).commits
      .flatMap((commit) => readable(commit).facts.map(({ event }) => event))
      .filter((event): event is Extract<MillFact, { _tag: Tag }> => event._tag === tag)
  }
}

/** Runs a life within a scope of its own. */
export const living = <A, E>(options: LifeOptions, story: (life: Life) => Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> => livingAt(atLambda, options, story)

/** The same under another cloud. */
export const livingAt = <Room extends CloudRoom, A, E>(vendor: Vendor<Room>, options: LifeOptions, story: (life: Life<Room>) => Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> =>
  Effect.scoped(Effect.gen(function*() {
    const life = new Life(vendor, options)
    yield* life.run
    return yield* story(life)
  }))
