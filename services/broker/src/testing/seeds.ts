import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { type Checkpoint, Checkpoints, CrashPoints, Journal, memoryJournal, MemoryLog, readable, verify, withCrashPoints } from "@millrace/journal"
import { Chance, Sometimes, VirtualTime } from "@millrace/sim"
import { type DemandClass, type FactId, type HostId, type LeaseId, type MillFact, type Offer, Principal, type StreamName, type Subject } from "@millrace/schemas"
import { Cause, Clock, Deferred, Effect, Exit, Layer, Random, Redacted, References } from "effect"
import { hash } from "node:crypto"
import { broker, comparable } from "../domain/broker.ts"
import { Providers } from "../providers/all.ts"
import type { Provider } from "../providers/provider.ts"
import { BrokerSecret } from "../reactors/one-time-key.ts"
import { buying } from "../service.ts"
import { attemptAt } from "./attempt.ts"
import { type Paid, PretendCloud } from "./pretend-cloud.ts"

const minute = 60_000
/** How long demand comes and goes in bad weather, and how long everything may take to end after it. */
const stormMs = 5 * minute
const drainMs = 9 * minute
/** The promise: what nobody accounts for is found so soon, and has ended so soon, while the broker lives and its cloud answers. */
const foundMsMax = 60_000
const endedMsMax = 120_000
const tickMs = 1_000

const row = (machineType: string, cores: number, centsPerHour: bigint, market: Offer["market"], regions: ReadonlyArray<string>): Offer => ({
  machineType, market, resources: { cpuMilli: cores * 1000, memoryMib: cores * 1024, diskMib: 0, gpus: 0 }, pricePicoPerSecond: (centsPerHour * 10_000_000_000n) / 3600n, regions
})

const wants: typeof DemandClass.Type = { cpuMilli: 800, memoryMib: 500, gpus: 0, gpuModels: [], waiting: 1, oldestSinceMs: 0 }

export interface Ran {
  readonly seed: string
  /** What must never be, and was. */
  readonly faults: ReadonlyArray<string>
  readonly lives: number
  readonly bought: number
  readonly sometimes: Readonly<Record<string, number>>
}

/** What the log holds open, as somebody who only reads it. */
class Ledger {
  readonly open = new Map<LeaseId, { readonly token?: string; machine?: string; readonly orphan: boolean }>()
  readonly costs = new Map<string, bigint>()
  readonly #machineOf = new Map<LeaseId, string>()
  readonly #log: MemoryLog
  #after = 0

  constructor(log: MemoryLog) {
    this.#log = log
  }

  read(): this {
    const head = this.#log.head("BROKER")
    if (head === this.#after) return this
    for (const commit of this.#log.after("BROKER", this.#after, undefined, Number.POSITIVE_INFINITY).commits) {
      for (const { event } of readable(commit).facts) this.#hear(event)
    }
    this.#after = head
    return this
  }

  #hear(event: MillFact): void {
    switch (event._tag) {
      case "LeaseRequested":
        return void this.open.set(event.leaseId, { token: event.token, orphan: false })
      case "OrphanFound":
        this.#machineOf.set(event.leaseId, event.machine)
        return void this.open.set(event.leaseId, { machine: event.machine, orphan: true })
      case "LeaseGranted": {
        const lease = this.open.get(event.leaseId)
        if (lease !== undefined) lease.machine = event.machine
        this.#machineOf.set(event.leaseId, event.machine)
        return
      }
      case "LeaseEnded": {
        const machine = this.#machineOf.get(event.leaseId)
        if (machine !== undefined) this.costs.set(machine, event.costPico)
        return void this.open.delete(event.leaseId)
      }
      case "LeaseRefused":
        return void this.open.delete(event.leaseId)
      default:
        return
    }
  }

  accountsFor({ id, wish }: Paid): boolean {
    for (const { machine, token } of this.open.values()) if (machine === id || (machine === undefined && token === wish.token)) return true
    return false
  }
}

/**
 * One cell's capacity under one seed: two clouds with moods, demand that comes and goes, hosts that join and work,
 * and a broker that dies at crash points and is started again. Time is virtual, and the truth is looked at each second.
 */
export const runSeed = (seed: string, { sweepEveryMs = 45_000 }: { readonly sweepEveryMs?: number } = {}): Ran => {
  const root = new Chance(`broker ${seed}`)
  const time = new VirtualTime({ startMs: 1_000_000 })
  const log = new MemoryLog()
  const journal = memoryJournal(log)
  const sometimes = new Sometimes()
  const ledger = new Ledger(log)
  const faults: Array<string> = []
  const clouds = [
    new PretendCloud("north", { chance: root.fork("north"), time, sometimes, rows: [row("small", 1, 6n, "on_demand", ["a", "b"]), row("large", 4, 20n, "on_demand", ["a"]), row("small", 1, 2n, "spot", ["a", "b"])] }),
    new PretendCloud("south", { chance: root.fork("south"), time, sometimes, rows: [row("small", 1, 7n, "on_demand", ["c"])] })
  ]
  let lives = 0
  let waiting = 0
  let alive = false
  let calm = false
  const spot = root.happens(0.5)

  const hear = (subject: Subject, event: MillFact, saw?: Record<string, number>): Effect.Effect<void> => Effect.gen(function*() {
    const stream = log.streamOf(`mill.${subject.kind}.${subject.scope}`) as StreamName
    const sequence = log.head(stream)
    const id = deriveId<FactId>("fct", time.nowMs, stream, sequence)
    const decided = saw === undefined ? {} : { decided: { saw, decidedAtMs: time.nowMs, ordinal: 0, of: 1 } }
    yield* Effect.orDie(journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs: time.nowMs, facts: [{ id, partOf: id, event }], ...decided }, { last: "stream", sequence }))
  })
  const demand = (count: number): Effect.Effect<void> => Effect.suspend(() => {
    waiting = count
    const classes = count === 0 ? [] : [{ ...wants, waiting: count, ...(spot ? { where: { spot: "tolerated" as const } } : {}) }]
    return hear({ kind: "demand", scope: "cell" }, { _tag: "DemandChanged", classes }, { HOSTS: log.head("HOSTS"), ACCESS: log.head("ACCESS") })
  })

  /** What is done by a dead broker reaches nobody. */
  const guarded = (life: { over: boolean }, { provider }: PretendCloud): Provider => {
    const guard = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => (life.over ? Effect.never : Effect.flatMap(Effect.exit(call), (exit) => Effect.suspend(() => (life.over ? Effect.never : exit)))))
    return { ...provider, offers: guard(provider.offers), list: guard(provider.list), create: (wish) => guard(provider.create(wish)), terminate: (id) => guard(provider.terminate(id)) }
  }

  const operating = Effect.gen(function*() {
    const deaths = root.fork("deaths")
    const disk = new Map<string, Checkpoint>()
    const checkpoints = Layer.succeed(Checkpoints, { load: (fold: string) => Effect.sync(() => disk.get(fold)), save: (one: Checkpoint) => Effect.sync(() => void disk.set(one.fold, one)) } as Checkpoints["Service"])
    const blobs = Layer.succeed(Blobs, yield* Blobs.pipe(Effect.provide(Blobs.memory)))
    while (true) {
      const life = { over: false }
      alive = true
      lives += 1
      const died = yield* Deferred.make<void>()
      const one = yield* Effect.forkDetach(
        buying({
          bounds: { cell: "test", machinesMax: 6, spendPicoPerHourMax: 10n ** 13n, answerMsMax: 60_000, bootMsMax: 60_000, idleMsMax: 20_000 },
          agentSettings: "", checkpointEvery: 20, sweepEveryMs, offersEveryMs: 60_000
        }).pipe(
          Effect.provideService(Providers, new Map(clouds.map((cloud) => [cloud.name, guarded(life, cloud)]))),
          Effect.provide([checkpoints, blobs]),
          Effect.provideService(Journal, withCrashPoints(journal)),
          Effect.provideService(BrokerSecret, Redacted.make("a secret of the test")),
          Effect.provideService(CrashPoints, (point) => Effect.suspend(() => {
            if (life.over) return Effect.never
            if (calm || !deaths.happens(0.03)) return Effect.void
            sometimes.saw("died")
            sometimes.saw(`died at ${point}`)
            life.over = true
            Deferred.doneUnsafe(died, Effect.void)
            return Effect.never
          })),
          Effect.onExit((exit) => Effect.sync(() => {
            if (!life.over && Exit.isFailure(exit)) faults.push(`the broker ended by itself: ${Cause.pretty(exit.cause).slice(0, 600)}`)
            life.over = true
            Deferred.doneUnsafe(died, Effect.void)
          }))
        )
      )
      yield* Deferred.await(died)
      alive = false
      one.interruptUnsafe()
      yield* Effect.sleep(deaths.between(100, 5_000))
    }
  })

  const joined = new Set<string>()
  const host = Effect.fnUntraced(function*(machine: Paid) {
    const hostId = namedId<HostId>("hst", machine.id)
    const key = /"content": "([\w-]+)\\n"/u.exec(machine.wish.userData)?.[1] ?? ""
    yield* hear({ kind: "admission", scope: "cell" }, { _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: Principal.make("service:access"), oneTimeKeyDigest: `sha256:${hash("sha256", key, "hex")}` as never })
    const cores = machine.wish.column.machineType === "large" ? 4 : 1
    yield* hear({ kind: "host", scope: hostId }, {
      _tag: "HostJoined", hostId, bootId: "b", agentVersion: "1",
      capabilities: { resources: { cpuMilli: cores * 1000, memoryMib: cores * 900, diskMib: 0, gpus: 0 }, gpus: [], runtimes: ["noop"], trusts: ["own"], labels: {} }
    })
    for (let core = 0; core < cores && waiting > 0; core += 1) {
      const made = attemptAt(hostId, `${machine.id} ${core} ${time.nowMs}`)
      yield* hear({ kind: "placement", scope: hostId }, made.placed)
      yield* demand(waiting - 1)
      time.after(root.between(2_000, 30_000), () => void (made.due = true))
      ending.push(made)
    }
  })
  const ending: Array<ReturnType<typeof attemptAt>> = []

  const unaccounted = new Map<string, number>()
  const stray = new Map<string, number>()
  /** Looks at the truth, and lets hosts do what is due. */
  const tick = Effect.gen(function*() {
    ledger.read()
    for (const cloud of clouds) {
      for (const machine of cloud.paid) {
        const { id } = machine
        const seen = alive && !cloud.isDown && machine.visibleAtMs <= time.nowMs && cloud.silentUntilMs <= time.nowMs
        if (!ledger.accountsFor(machine)) {
          unaccounted.set(id, (unaccounted.get(id) ?? 0) + (seen ? tickMs : 0))
          stray.set(id, stray.get(id) ?? 0)
          if (unaccounted.get(id)! > foundMsMax) faults.push(`${id} costs money, and nobody has found it within ${foundMsMax / 1000} s`)
        } else unaccounted.delete(id)
        if (stray.has(id)) {
          sometimes.saw("stray")
          stray.set(id, stray.get(id)! + (seen ? tickMs : 0))
          // An end that is refused again and again is waited for; that is the cloud's doing.
          if (stray.get(id)! > endedMsMax + (cloud.mood.endsRefused > 0 ? 60_000 : 0)) faults.push(`${id} was found, and still costs money after ${stray.get(id)! / 1000} s`)
        }
        if (machine.upAtMs <= time.nowMs && !joined.has(id) && !machine.double) {
          joined.add(id)
          yield* host(machine)
        }
      }
    }
    for (const made of ending.splice(0)) {
      if (made.due) yield* hear({ kind: "attempt", scope: made.placed.hostId }, made.exited)
      else ending.push(made)
    }
  })

  const storm = Effect.gen(function*() {
    const chance = root.fork("demand")
    while (!calm) {
      yield* demand(chance.between(0, 6))
      yield* Effect.sleep(chance.between(5_000, 60_000))
      if (!calm && chance.happens(0.2)) chance.oneOf(clouds).downUntilMs = time.nowMs + chance.between(5_000, 90_000)
    }
  })

  const main = Effect.gen(function*() {
    yield* Effect.forkChild(operating)
    yield* Effect.forkChild(storm)
    for (let passedMs = 0; passedMs < stormMs + drainMs; passedMs += tickMs) {
      if (passedMs === stormMs) {
        calm = true
        for (const cloud of clouds) cloud.calm()
        yield* demand(0)
      }
      yield* tick
      if (faults.length > 0) return
      yield* Effect.sleep(tickMs)
    }
    yield* demand(0)
    const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, journal), Effect.orDie)
    for (const mismatch of verdict.mismatches) faults.push(`a replay decides otherwise: ${JSON.stringify(mismatch).slice(0, 600)}`)
  })

  const exit = time.run(Effect.scoped(main).pipe(Effect.provideService(Clock.Clock, time.clock()), Effect.provideService(Random.Random, root.fork("random")), Effect.provideService(References.MinimumLogLevel, "None")))
  if (Exit.isFailure(exit)) faults.push(`the run broke: ${Cause.pretty(exit.cause).slice(0, 600)}`)
  else if (faults.length === 0) faults.push(...atTheEnd(clouds, ledger.read(), time.nowMs))
  for (const [name, events] of [["ReclaimNoticed", "ReclaimNoticed"], ["OrphanFound", "OrphanFound"], ["GhostFound", "GhostFound"], ["ProviderSuspended", "ProviderSuspended"], ["ProviderResumed", "ProviderResumed"]] as const) {
    const count = log.after("BROKER", 0, undefined, Number.POSITIVE_INFINITY).commits.filter(({ facts }) => facts.some((fact) => fact.name === events)).length
    if (count > 0) sometimes.saw(name, count)
  }
  const hedges = log.after("BROKER", 0, undefined, Number.POSITIVE_INFINITY).commits.flatMap((commit) => readable(commit).facts)
    .filter(({ event }) => event._tag === "LeaseRequested" && event.insteadOf !== undefined).length
  if (hedges > 0) sometimes.saw("second attempt", hedges)
  return { seed, faults, lives, bought: clouds.reduce((sum, { made }) => sum + made.length, 0), sometimes: sometimes.toJSON() }
}

/** Everything has ended, each intent has bought one machine at most, and ours costs no less than the truth. */
const atTheEnd = (clouds: ReadonlyArray<PretendCloud>, ledger: Ledger, atMs: number): ReadonlyArray<string> => {
  const faults: Array<string> = []
  for (const [leaseId] of ledger.open) faults.push(`${leaseId} never came to an end`)
  for (const cloud of clouds) {
    for (const { id } of cloud.paid) faults.push(`${id} still costs money`)
    const asked = cloud.made.filter(({ double }) => !double).map(({ wish }) => wish.token)
    const twice = asked.filter((token, index) => asked.indexOf(token) !== index)
    if (twice.length > 0) faults.push(`bought twice: ${twice.join(", ")}`)
    for (const machine of cloud.made) {
      const [ours, truly] = [ledger.costs.get(machine.id), cloud.costOf(machine, atMs)]
      if (ours !== undefined && ours < truly) faults.push(`${machine.id} cost ${truly}, and ${ours} was written down`)
    }
  }
  return faults
}
