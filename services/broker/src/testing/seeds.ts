import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { Checkpoints, Journal, memoryJournal, verify } from "@millrace/journal"
import { type DemandClass, type FactId, type HostId, type MillFact, type Offer, Principal, type StreamName, type Subject } from "@millrace/schemas"
import { worker } from "@millrace/service"
import { Broker, calm, Chance, heal, type Life, runProcess, SimulatedProcess, Sometimes, type Swarm, VirtualTime } from "@millrace/sim"
import { Cause, Clock, Deferred, Effect, Exit, Layer, Random, Redacted, References } from "effect"
import { hash } from "node:crypto"
import { broker, comparable } from "../domain/broker.ts"
import { Providers } from "../providers/all.ts"
import type { Provider } from "../providers/provider.ts"
import { BrokerSecret } from "../reactors/one-time-key.ts"
import { buying } from "../service.ts"
import { attemptAt } from "./attempt.ts"
import { Ledger } from "./ledger.ts"
import { type Paid, PretendCloud } from "./pretend-cloud.ts"
import { solverHere } from "./solver-here.ts"

const minute = 60_000
/** How long demand comes and goes in bad weather, and how long everything may take to end after it. */
const stormMs = 3 * minute
const drainMs = 9 * minute
/** Everything has ended when nothing has been open for so long after the storm. */
const quietMs = 45_000
/** The promise: what nobody accounts for is found so soon, and has ended so soon, while the broker lives and its cloud answers. */
const foundMsMax = 60_000
const endedMsMax = 120_000
const tickMs = 1_000
/** An end that came to nothing is asked for again after so long at most, and the cloud's answer takes as long as its mood is. */
const askedAgainMs = 5_000

const row = (machineType: string, cores: number, centsPerHour: bigint, market: Offer["market"], regions: ReadonlyArray<string>): Offer => ({
  machineType, market, resources: { cpuMilli: cores * 1000, memoryMib: cores * 1024, diskMib: 0, gpus: 0 }, pricePicoPerSecond: (centsPerHour * 10_000_000_000n) / 3600n, regions
})

const wants: typeof DemandClass.Type = { cpuMilli: 800, memoryMib: 500, gpus: 0, gpuModels: [], waiting: 1, oldestSinceMs: 0 }

export interface Ran {
  readonly seed: string
  /** What must never be, and was. */
  readonly faults: ReadonlyArray<string>
  readonly bought: number
  readonly sometimes: Readonly<Record<string, number>>
}

/** Bugs of a broker, for the tests that plant them. */
export interface Plants {
  readonly sweepEveryMs?: number
  /** Its calls are sent without a look at whether it is still the one that buys. */
  readonly sendsBlindly?: boolean
  /** It takes every provider for one that knows a token again. */
  readonly trustsTokens?: boolean
  /** It pushes no dead-man time forward. */
  readonly forgetsDeadMen?: boolean
}

/** The way to the log is bad in one run of two: a random half of what can be wrong with it. */
const swarmOf = (chance: Chance): Swarm => {
  const bad = chance.happens(0.5)
  const some = () => (bad && chance.happens(0.5) ? chance.next() : 0)
  return { ...calm, crash_point: 0.6, slow_message: some(), lost_request: some(), lost_answer: some(), late_request: some() }
}

/**
 * One cell's capacity under one seed: two clouds with moods, demand that comes and goes, hosts that join and work, and
 * a broker that dies at crash points and is started again, that stands still while another takes over and then goes
 * on, and whose way to the log fails. Time is virtual, and the truth is looked at each second.
 */
export const runSeed = (seed: string, plants: Plants = {}): Ran => {
  // Thousands of failures are part of a run, and nobody reads where each began.
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return new World(seed, plants).run()
  } finally {
    Error.stackTraceLimit = before
  }
}

class World {
  readonly #plants: Plants
  readonly #root: Chance
  readonly #time = new VirtualTime({ startMs: 1_000_000 })
  readonly #sometimes = new Sometimes()
  readonly #faults: Array<string> = []
  readonly #seed: string
  readonly #log: Broker
  readonly #ledger: Ledger
  readonly #clouds: ReadonlyArray<PretendCloud>
  readonly #processes: ReadonlyArray<SimulatedProcess>
  /** Processes that somebody wants to run. */
  readonly #wanted = new Set<SimulatedProcess>()
  readonly #spoke = new Map<FactId, SimulatedProcess>()
  readonly #spot: boolean
  readonly #plans: boolean
  #silentUntilMs = 0
  #waiting = 0
  #calm = false
  /** One broker is taking over from another. */
  #changing = false
  readonly #joined = new Set<string>()
  #ending: Array<ReturnType<typeof attemptAt>> = []
  /** When a cloud could last not be looked at. */
  readonly #disturbed = new Map<PretendCloud, number>()
  readonly #unaccounted = new Map<string, number>()
  readonly #stray = new Map<string, number>()

  constructor(seed: string, plants: Plants) {
    this.#seed = seed
    this.#plants = plants
    const root = this.#root = new Chance(`broker ${seed}`)
    const [time, sometimes] = [this.#time, this.#sometimes]
    this.#log = new Broker({ time, chance: root.fork("log"), swarm: swarmOf(root.fork("swarm")), sometimes })
    this.#ledger = new Ledger(this.#log)
    this.#clouds = [
      new PretendCloud("north", { chance: root.fork("north"), time, sometimes, rows: [row("small", 1, 6n, "on_demand", ["a", "b"]), row("large", 4, 20n, "on_demand", ["a"]), row("small", 1, 2n, "spot", ["a", "b"])] }),
      new PretendCloud("south", { chance: root.fork("south"), time, sometimes, rows: [row("small", 1, 7n, "on_demand", ["c"])] })
    ]
    this.#processes = ["first", "second"].map((name) => new SimulatedProcess(time, { name, chance: root.fork(name) }))
    this.#wanted.add(this.#processes[0]!)
    this.#spot = root.happens(0.5)
    this.#plans = root.happens(0.1)
  }

  run(): Ran {
    const main = Effect.gen({ self: this }, function*() {
      const over = yield* Deferred.make<void>()
      for (const process of this.#processes) yield* Effect.forkChild(this.#operating(process))
      this.#troubles()
      this.#storm()
      this.#tick(() => Deferred.doneUnsafe(over, Effect.void))
      yield* Deferred.await(over)
      if (this.#faults.length > 0) return
      const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, memoryJournal(this.#log.log)), Effect.orDie)
      for (const mismatch of verdict.mismatches) this.#faults.push(`a replay decides otherwise: ${JSON.stringify(mismatch).slice(0, 600)}`)
    })
    const exit = this.#time.run(Effect.scoped(main).pipe(Effect.provideService(Clock.Clock, this.#time.clock()), Effect.provideService(Random.Random, this.#root.fork("random")), Effect.provideService(References.MinimumLogLevel, "None")))
    if (Exit.isFailure(exit)) this.#faults.push(`the run broke: ${Cause.pretty(exit.cause).slice(0, 600)}`)
    else if (this.#faults.length === 0) this.#atTheEnd()
    this.#sometimes.add(Object.fromEntries(this.#ledger.said))
    return { seed: this.#seed, faults: this.#faults, bought: this.#clouds.reduce((sum, { made }) => sum + made.length, 0), sometimes: this.#sometimes.toJSON() }
  }

  // What others say.

  #say(subject: Subject, event: MillFact, saw?: Record<string, number>): void {
    const { log, nowMs } = { log: this.#log.log, nowMs: this.#time.nowMs }
    const stream = log.streamOf(`mill.${subject.kind}.${subject.scope}`) as StreamName
    const sequence = log.head(stream)
    const id = deriveId<FactId>("fct", nowMs, stream, sequence)
    const decided = saw === undefined ? {} : { decided: { saw, decidedAtMs: nowMs, ordinal: 0, of: 1 } }
    this.#log.store({ subject, actor: Principal.make("service:test"), happenedAtMs: nowMs, facts: [{ id, partOf: id, event }], ...decided }, { last: "stream", sequence })
  }

  #demand(count: number): void {
    this.#waiting = count
    const classes = count === 0 ? [] : [{ ...wants, waiting: count, ...(this.#spot ? { where: { spot: "tolerated" as const } } : {}) }]
    this.#say({ kind: "demand", scope: "cell" }, { _tag: "DemandChanged", classes }, { HOSTS: this.#log.log.head("HOSTS"), ACCESS: this.#log.log.head("ACCESS") })
  }

  /** A machine is up: its host enrols with the key that it was started with, and what waits begins there. */
  #host(machine: Paid): void {
    const { nowMs } = this.#time
    const hostId = namedId<HostId>("hst", machine.id)
    const key = /"content": "([\w-]+)\\n"/u.exec(machine.wish.userData)?.[1] ?? ""
    this.#say({ kind: "admission", scope: "cell" }, { _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: Principal.make("service:access"), oneTimeKeyDigest: `sha256:${hash("sha256", key, "hex")}` as never })
    const cores = machine.wish.column.machineType === "large" ? 4 : 1
    this.#say({ kind: "host", scope: hostId }, {
      _tag: "HostJoined", hostId, bootId: "b", agentVersion: "1",
      capabilities: { resources: { cpuMilli: cores * 1000, memoryMib: cores * 900, diskMib: 0, gpus: 0 }, gpus: [], runtimes: ["noop"], trusts: ["own"], labels: {} }
    })
    for (let core = 0; core < cores && this.#waiting > 0; core += 1) {
      const made = attemptAt(hostId, `${machine.id} ${core} ${nowMs}`)
      this.#say({ kind: "placement", scope: hostId }, made.placed)
      this.#demand(this.#waiting - 1)
      // Some work lasts longer than any dead man would wait.
      this.#time.after(this.#root.happens(0.1) ? this.#root.between(90_000, 200_000) : this.#root.between(2_000, 30_000), () => void (made.due = true))
      this.#ending.push(made)
    }
  }

  // The broker's processes, and what becomes of them.

  #operating(process: SimulatedProcess) {
    const { sweepEveryMs = 45_000, sendsBlindly = false, trustsTokens = false, forgetsDeadMen = false } = this.#plants
    const layer = (life: Life) => {
      const providers = this.#clouds.map((cloud) => cloud.providerFor(life)).map(({ can, create, ...provider }): Provider => ({
        ...provider,
        can: { ...can, ...(trustsTokens ? { idempotent: true } : {}), ...(forgetsDeadMen ? { deadManMs: undefined } : {}) },
        create: (wish) => create(sendsBlindly ? { ...wish, maySend: Effect.void } : wish)
      }))
      const wanted = Effect.gen({ self: this }, function*() {
        while (!this.#wanted.has(process)) yield* Effect.sleep(tickMs)
      })
      const buys = Effect.suspend(() => buying({
        bounds: { cell: "test", machinesMax: 6, spendPicoPerHourMax: 10n ** 13n, answerMsMax: 90_000, bootMsMax: 60_000, idleMsMax: 20_000 },
        agentSettings: "", checkpointEvery: 40, sweepEveryMs, offersEveryMs: 60_000, ...(this.#plans ? { plans: { solver: solverHere, everyMs: 15_000 } } : {})
      }))
      return worker(Effect.andThen(wanted, buys), { name: "broker" }).pipe(
        Layer.provide([Layer.succeed(Providers, new Map(providers.map((provider) => [provider.name, provider]))), Layer.succeed(BrokerSecret, Redacted.make("a secret of the test"))])
      )
    }
    return Effect.gen({ self: this }, function*() {
      // What lies on disks is there for the next life.
      const kept = yield* Layer.build(Layer.merge(Checkpoints.layerMemory, Blobs.memory))
      yield* runProcess({
        broker: this.#log, process, restartMs: () => process.chance.between(100, 5_000),
        layer: (life) => Layer.provide(layer(life), Layer.succeedContext(kept)),
        wrap: (journal) => ({
          ...journal,
          append: (commit, expect) => {
            if (commit.facts[0].event._tag === "BrokerTookOver") this.#spoke.set(commit.facts[0].id, process)
            return journal.append(commit, expect)
          }
        }),
        onDeath: (death) => {
          if (death._tag === "Died") this.#faults.push(`the broker ended by itself: ${Cause.pretty(death.cause).slice(0, 600)}`)
        }
      })
    })
  }

  /** Whoever bought last lives and does not stand still, and it and the log reach each other. */
  get #atWork(): boolean {
    const process = this.#spoke.get(this.#ledger.tookOver as FactId)
    return process !== undefined && process.life?.alive === true && this.#wanted.has(process) && !process.paused
      && process.partitionedUntilMs <= this.#time.nowMs && this.#silentUntilMs <= this.#time.nowMs
  }

  /** Plans what lasts a while: a broker that stands still while another takes over, a way to the log that is cut, a log that does not answer. */
  #troubles(): void {
    const chance = this.#root.fork("troubles")
    const [first, second] = this.#processes as [SimulatedProcess, SimulatedProcess]
    const during = (probability: number, strike: () => void) => {
      if (chance.happens(probability)) this.#time.after(chance.between(5_000, stormMs - 60_000), () => this.#calm ? undefined : strike())
    }
    const takenOver = (pauseMs: number) => {
      const [old, young] = this.#wanted.has(first) ? [first, second] : [second, first]
      if (this.#changing || this.#calm) return
      this.#changing = true
      this.#sometimes.saw("taken over")
      old.pause(pauseMs)
      this.#time.after(chance.between(500, 15_000), () => this.#wanted.add(young))
      // Both run for a while, and overtake each other, until somebody ends one.
      this.#time.after(chance.between(20_000, 70_000), () => {
        const gone = chance.oneOf([old, young])
        this.#wanted.delete(gone)
        gone.life?.end()
        this.#changing = false
      })
    }
    during(0.5, () => takenOver(chance.between(2_000, 60_000)))
    // The worst moment is before the call that costs money.
    for (const cloud of this.#clouds) cloud.inLine = () => chance.happens(0.04) ? takenOver(chance.between(10_000, 60_000)) : undefined
    during(0.3, () => {
      this.#sometimes.saw("partition")
      first.partitionedUntilMs = this.#time.nowMs + chance.between(100, 8_000)
    })
    during(0.2, () => {
      this.#sometimes.saw("leaderless")
      const forMs = chance.between(100, 5_000)
      this.#silentUntilMs = this.#time.nowMs + forMs
      this.#log.loseLeader(forMs)
    })
  }

  #storm(): void {
    const chance = this.#root.fork("demand")
    const again = () => {
      if (this.#calm) return
      if (chance.happens(0.2)) chance.oneOf(this.#clouds).downUntilMs = this.#time.nowMs + chance.between(5_000, 90_000)
      this.#demand(chance.between(0, 6))
      this.#time.after(chance.between(5_000, 60_000), again)
    }
    again()
    this.#time.after(stormMs, () => {
      this.#calm = true
      for (const cloud of this.#clouds) cloud.calm()
      this.#log.heal()
      Effect.runSync(heal(this.#log, this.#processes))
      this.#silentUntilMs = 0
      this.#demand(0)
    })
  }

  // The truth.

  /** Looks at the truth each second, and lets hosts do what is due, until everything has come to rest or nothing more may. */
  #tick(over: () => void): void {
    let quiet = 0
    const once = () => {
      this.#ledger.read()
      for (const cloud of this.#clouds) {
        for (const machine of cloud.paid) this.#look(cloud, machine)
        this.#lookAtDeadMen(cloud)
      }
      const later: Array<ReturnType<typeof attemptAt>> = []
      for (const made of this.#ending.splice(0)) {
        if (made.due) this.#say({ kind: "attempt", scope: made.placed.hostId }, made.exited)
        else later.push(made)
      }
      this.#ending = later
      quiet = this.#calm && this.#ledger.open.size === 0 && this.#clouds.every(({ paid }) => paid.length === 0) ? quiet + tickMs : 0
      if (this.#faults.length > 0 || quiet >= quietMs || this.#time.nowMs >= 1_000_000 + stormMs + drainMs) over()
      else this.#time.after(tickMs, once)
    }
    once()
  }

  #look(cloud: PretendCloud, machine: Paid): void {
    const { id } = machine
    const { nowMs } = this.#time
    const passedMs = this.#atWork && !cloud.isDown && machine.visibleAtMs <= nowMs && cloud.silentUntilMs <= nowMs ? tickMs : 0
    if (!this.#ledger.accountsFor(machine)) {
      this.#unaccounted.set(id, (this.#unaccounted.get(id) ?? 0) + passedMs)
      this.#stray.set(id, this.#stray.get(id) ?? 0)
      if (this.#unaccounted.get(id)! > foundMsMax) this.#faults.push(`${id} costs money, and nobody has found it within ${foundMsMax / 1000} s`)
    } else this.#unaccounted.delete(id)
    const stray = this.#stray.get(id)
    if (stray !== undefined) {
      this.#sometimes.saw("stray")
      this.#stray.set(id, stray + passedMs)
      // An end that is refused is asked for again: each time that it was in vain is the cloud's doing.
      const inVainMs = machine.endsInVain * (askedAgainMs + 2 * cloud.mood.slowMs)
      if (stray + passedMs > endedMsMax + inVainMs) this.#faults.push(`${id} was found, and still costs money after ${(stray + passedMs) / 1000} s`)
    }
    if (machine.upAtMs <= nowMs && !this.#joined.has(id) && !machine.double) {
      this.#joined.add(id)
      this.#host(machine)
    }
  }

  /** No machine that is held ends by its dead man, unless for as long as that is set to nobody could have pushed it forward. */
  #lookAtDeadMen(cloud: PretendCloud): void {
    const { nowMs } = this.#time
    if (!this.#atWork || cloud.isDown || cloud.silentUntilMs > nowMs) this.#disturbed.set(cloud, nowMs)
    for (const { byDeadMan, endsAtMs, id } of cloud.made) {
      if (byDeadMan !== true || nowMs - (endsAtMs ?? 0) >= tickMs || !this.#ledger.holds(id)) continue
      if (nowMs - (this.#disturbed.get(cloud) ?? 0) >= cloud.can.deadManMs! / 2) this.#faults.push(`${id} was held, and its dead man has ended it`)
    }
  }

  /** Everything has ended, each intent has bought one machine at most, and ours costs no less than the truth. */
  #atTheEnd(): void {
    const { costs, open } = this.#ledger.read()
    for (const [leaseId] of open) this.#faults.push(`${leaseId} never came to an end`)
    for (const cloud of this.#clouds) {
      for (const { id } of cloud.paid) this.#faults.push(`${id} still costs money`)
      const asked = cloud.made.filter(({ double }) => !double).map(({ wish }) => wish.token)
      const twice = asked.filter((token, index) => asked.indexOf(token) !== index)
      if (twice.length > 0) this.#faults.push(`bought twice: ${twice.join(", ")}`)
      for (const machine of cloud.made) {
        const [ours, truly] = [costs.get(machine.id), cloud.costOf(machine, this.#time.nowMs)]
        if (ours !== undefined && ours < truly) this.#faults.push(`${machine.id} cost ${truly}, and ${ours} was written down`)
      }
    }
  }
}
