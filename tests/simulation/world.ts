import { Blobs } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { asReadBack, Beats, type Checkpoint, Checkpoints, crashPoint, Seat, type StreamDecider } from "@millrace/journal"
import type { Capabilities, FactId, HostId, JobId, Principal, Warrant, WorkspaceName } from "@millrace/schemas"
import { Keyring, keyringInMemory, WarrantForged, WarrantSigner, WarrantVerifier } from "@millrace/service"
import {
  BeatLine,
  Broker,
  Chance,
  type Death,
  heal,
  type History,
  type Life,
  type ProcessOptions,
  runProcess,
  Seats,
  SimulatedProcess,
  Sometimes,
  streamsOf,
  type Swarm,
  swarmOf,
  unleash,
  VirtualTime,
  type WorkMark
} from "@millrace/sim"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Layer, Random, References } from "effect"
import { createHash } from "node:crypto"
import { Doors } from "../../services/host/src/machine/doors.ts"
import { HostService } from "../../services/host/src/service.ts"
import { MeteringLedger } from "../../services/metering/src/service.ts"
import { scheduler } from "../../services/scheduler/src/domain/scheduler.ts"
import type { World } from "../../services/scheduler/src/domain/world.ts"
import { schedulerService } from "../../services/scheduler/src/service.ts"
import { grantAuthority, limitPicoOf } from "./authority.ts"
import { clients, plainRequest } from "./clients.ts"
import { askForShares, contestedAtMs, contestedCapabilities, contestedHosts, contestedJobs, contestedMinutes, contestedMs, contestedRequest, contestedUnderGrant, rentedCapabilities, suspectGpu } from "./contested.ts"
import { Desk } from "./desk.ts"
import { lend } from "./lender.ts"
import { longMs, mostlyShortMs, SimulatedMachine } from "./machine.ts"
import { type PlantedBugName, plantsOf } from "./planted.ts"

export interface SimulateOptions {
  readonly seed: number
  /** Virtual minutes in which jobs come and faults strike; then all is healed and drained. */
  readonly minutes?: number
  readonly hosts?: number
  readonly jobs?: number
  /**
   * In a cell that is fought over: gangs, quotas, priorities, work that gives way, a rented machine that comes and goes,
   * a GPU that is suspected, and a seat, so that one scheduler stands by. Without it plain jobs, and two schedulers
   * that push each other aside.
   */
  readonly contested?: boolean
  /** Ends the scheduler that sits, or has it stand still, at this virtual moment of the run. */
  readonly strike?: { readonly afterMs: number; readonly how: "crash" | "pause" }
  /** Without it the seed chooses. */
  readonly faults?: Swarm
  /** A bug that is planted in this run, by name. */
  readonly bug?: PlantedBugName
}

export interface Run {
  readonly seed: number
  readonly history: History
  readonly sometimes: Sometimes
  /** Jobs that had not come to an end when patience ended. */
  readonly stuck: ReadonlyArray<JobId>
  /** Ends of processes that no fault explains. */
  readonly bugs: ReadonlyArray<string>
  readonly checkpoints: ReadonlyArray<Checkpoint>
  readonly broker: Broker
  readonly startMs: number
  /** Nothing was done to it. */
  readonly calm: boolean
  readonly contested: boolean
  /** Who decided, with the bug that was planted. */
  readonly decider: StreamDecider<World>
  readonly virtualMs: number
  /** When the scheduler that sat was struck. */
  readonly struckAtMs?: number | undefined
}

const workspacesOf = ["acme", "umbra"] as ReadonlyArray<string> as ReadonlyArray<WorkspaceName>
/** Short enough that pauses and partitions outlast it; where work lasts for minutes not all of it is to end with a lease. */
const leaseMsOf = (contested: boolean): number => contested ? 6_000 : 3_000
const drainMsMax = 3 * 60_000
/** Work that lasts for minutes, one after the other, and gangs that wait until enough of it is over. */
const contestedDrainMsMax = 60 * 60_000

/**
 * Everything in one process under one seed: gateways, two schedulers, metering, hosts and clients, over a log whose
 * network fails as the seed says. The same options give the same history, byte for byte.
 */
export const simulate = ({ bug, faults, seed, strike, ...size }: SimulateOptions): Run => {
  const root = new Chance(`seed ${seed}`)
  const sometimes = new Sometimes()
  const time = new VirtualTime()
  const plants = plantsOf(bug)
  const contested = size.contested ?? plants.contested ?? false
  const { hosts = 3, jobs = 8, minutes = 0.2 } = { ...(contested ? { hosts: contestedHosts, jobs: contestedJobs, minutes: contestedMinutes } : {}), ...plants.size, ...size }
  const swarm = faults ?? plants.swarm ?? { ...swarmOf(root.fork("swarm")), ...Object.fromEntries((plants.faults ?? []).map((fault) => [fault, 1])) }
  const broker = new Broker({
    time,
    chance: root.fork("network"),
    swarm,
    sometimes,
    runAheadMax: 15,
    fenceWidth: plants.fenceWidth ?? 15,
    ...(plants.journal === undefined ? {} : { bugs: plants.journal })
  })
  const beats = new BeatLine(broker)
  const marks: Array<WorkMark> = []
  const checkpoints: Array<Checkpoint> = []
  const bugs: Array<string> = []
  const forMs = minutes * 60_000
  const startMs = time.nowMs

  const skews = root.fork("skews")
  const process = (name: string) => {
    const skewed = swarm.clock_skew > 0 && skews.happens(swarm.clock_skew)
    if (skewed) sometimes.saw("clock_skew")
    return new SimulatedProcess(time, { name, chance: root.fork(name), skewMs: skewed ? skews.between(-2_000, 2_000) : 0 })
  }
  const machines = root.fork("machines")
  const hostAt = (index: number, capabilities: Capabilities) => {
    const hostId = deriveId<HostId>("hst", startMs, "simulated host", index)
    const lastsMs = plants.longWork === true ? longMs : contested ? contestedMs : mostlyShortMs
    return {
      process: process(`host ${index + 1}`),
      machine: new SimulatedMachine({ broker, marks, hostId, chance: machines.fork(hostId), capabilities, bugs: plants.machine ?? {}, lastsMs })
    }
  }
  const hostsOf = Array.from({ length: hosts }, (_, index) => hostAt(index, (contested ? contestedCapabilities : capabilitiesOf)(machines, index)))
  const rented = contested ? [hostAt(hosts, rentedCapabilities)] : []
  const schedulers = [process("scheduler 1"), process("scheduler 2")]
  const desks = [new Desk(process("gateway 1")), new Desk(process("gateway 2"))]
  const processes = [...schedulers, ...desks.map((desk) => desk.process), ...[...hostsOf, ...rented].map((host) => host.process)]
  const meterings = [process("metering 1")]
  processes.push(...meterings)
  admit(broker, hostsOf.map(({ machine }) => machine.hostId))
  const grants = grantAuthority(broker, root.fork("authority"), workspacesOf, forMs)
  const viewAt = broker.log.head("ACCESS")
  const seats = new Seats(broker)
  const seatOf = (life: Life) => contested ? Layer.effect(Seat, Effect.map(Seat, plants.seat ?? ((seat) => seat))).pipe(Layer.provide(seats.connect(life))) : Layer.empty
  let struckAtMs: number | undefined
  if (contested) {
    askForShares(broker, root.fork("shares"), workspacesOf, forMs)
    suspectGpu(broker, root.fork("suspicion"), hostsOf.map(({ machine: { capabilities, hostId }, process }) => ({ hostId, capabilities, process })), forMs)
  }

  const uncharged = new Set<string>()
  const settled = new Set<JobId>()
  const submitted = new Set<JobId>()
  const rest = Deferred.makeUnsafe<void>()
  let draining = false
  const lookForRest = () => {
    if (draining && uncharged.size === 0 && [...submitted].every((jobId) => settled.has(jobId))) Deferred.doneUnsafe(rest, Effect.void)
  }
  broker.onStored(({ facts }) => {
    for (const { event } of facts) {
      if (event._tag !== "Success") continue
      if (event.success._tag === "JobSubmitted") submitted.add(event.success.jobId)
      if (event.success._tag === "PlacementMade" && event.success.share !== undefined) uncharged.add(event.success.attemptId)
      if (event.success._tag === "SpendCommitted") uncharged.delete(event.success.attemptId)
      if (event.success._tag === "SchedulerTookOver" && schedulers.some(({ paused }) => paused)) sometimes.saw("took over from one that stood still")
      if (event.success._tag === "JobSettled" || event.success._tag === "JobRefused") settled.add(event.success.jobId)
    }
    lookForRest()
  })

  const acknowledged = new Set<JobId>()
  const cancelled = new Set<JobId>()
  const restarts = root.fork("restarts")
  const operate = (
    process: SimulatedProcess,
    layer: ProcessOptions["layer"],
    { looksUpAnywhere = false, wrap }: { readonly looksUpAnywhere?: boolean; readonly wrap?: ProcessOptions["wrap"] | undefined } = {}
  ) =>
    Effect.forkChild(runProcess({
      broker,
      process,
      layer,
      looksUpAnywhere,
      ...(wrap === undefined ? {} : { wrap }),
      restartMs: () => restarts.between(10, 1_500),
      onDeath: (death) => {
        sometimes.saw(`${process.name.split(" ")[0]}_restarted`)
        const unexplained = bugIn(death)
        if (unexplained !== undefined) bugs.push(`${process.name}: ${unexplained}`)
      }
    }))

  const main = Effect.gen(function*() {
    const keyring = Layer.succeed(Keyring, yield* Keyring.pipe(Effect.provide(keyringInMemory)))
    const blobs = Layer.succeed(Blobs, yield* Blobs.pipe(Effect.provide(Blobs.memory)))
    for (const desk of desks) yield* operate(desk.process, (life) => desk.layer(life, keyring), { wrap: plants.gateway })
    for (const scheduler of schedulers) {
      const disk = new Map<string, Checkpoint>()
      const every = scheduler.chance.between(3, 30)
      yield* operate(scheduler, (life) =>
        schedulerService({ checkpointEvery: every, leaseMs: leaseMsOf(contested), ...(plants.decider === undefined ? {} : { decider: plants.decider }) }).pipe(
          Layer.provide([signer, checkpointsOn(disk, checkpoints, life), Layer.succeed(Beats, beats.connect(life)), seatOf(life)])
        ), { wrap: plants.scheduler })
    }
    const money = root.fork("money")
    const workspaceLimitPico = limitPicoOf(money) * (contested ? 20n : 1n)
    for (const metering of meterings) {
      const disk = new Map<string, Checkpoint>()
      const checkpointEvery = metering.chance.between(5, 40)
      yield* operate(metering, (life) =>
        MeteringLedger({ workspaceLimitPico, checkpointEvery, ...(plants.metering === undefined ? {} : { decider: plants.metering }) }).pipe(
          Layer.provide(checkpointsOn(disk, checkpoints, life))
        ))
    }
    const agent = ({ machine, process }: (typeof hostsOf)[number]) => operate(
      process,
      (life) => HostService.pipe(Layer.provide([machine.layer(life), verifier, keyring, blobs, Doors.none, Layer.succeed(Beats, beats.connect(life))])),
      { looksUpAnywhere: true, wrap: plants.host }
    )
    for (const host of hostsOf) yield* agent(host)
    for (const { machine: { capabilities: { resources }, hostId }, machine, process } of rented) {
      const there = yield* Deferred.make<void>()
      const staying = yield* Effect.forkChild(Effect.andThen(Deferred.await(there), Effect.andThen(agent({ machine, process }), Effect.never)))
      lend({
        broker, hostId, resources, forMs,
        chance: root.fork("lender"),
        comes: () => Deferred.doneUnsafe(there, Effect.void),
        goes: () => {
          staying.interruptUnsafe()
          process.life?.end()
          machine.reboot()
        }
      })
    }
    if (strike !== undefined) {
      time.after(strike.afterMs, () => {
        const sits = seats.holders[0]
        if (sits === undefined) return
        struckAtMs = time.nowMs
        if (strike.how === "crash") sits.end()
        // Whoever died does not come back before the standby has had its time.
        sits.process.pause(20_000)
      })
    }
    unleash({
      broker,
      chance: root.fork("nemesis"),
      forMs,
      processes: () => processes,
      reboot: () => {
        const { machine, process } = root.fork(`reboot at ${time.nowMs}`).oneOf(hostsOf)
        machine.reboot()
        process.life?.end()
      }
    })
    const asking = yield* Effect.forkChild(clients({
      chance: root.fork("clients"),
      desks,
      jobs,
      asksAtMs: (own, workspace) => contested ? contestedAtMs(own, workspace === workspacesOf[0], forMs) : own.between(0, Math.floor(forMs * 0.8)),
      sometimes,
      workspaces: workspacesOf,
      grants,
      viewAt,
      underGrant: contested ? contestedUnderGrant : 0.35,
      requestOf: contested ? contestedRequest : plainRequest,
      acknowledged,
      cancelled
    }))
    yield* Effect.sleep(forMs)
    yield* heal(broker, processes)
    const asked = yield* Effect.timeoutOption(Fiber.await(asking), drainMsMax)
    if (asked._tag === "None") bugs.push("somebody who asked was not answered in the end")
    else if (Exit.isFailure(asked.value)) bugs.push(`somebody who asked got what asking again cannot mend: ${Cause.pretty(asked.value.cause)}`)
    draining = true
    lookForRest()
    yield* Effect.timeoutOption(Deferred.await(rest), contested ? contestedDrainMsMax : drainMsMax)
    // What still travels arrives: late appends, second deliveries, last words.
    yield* Effect.sleep(6_000)
  })

  const exit = time.run(main.pipe(
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.provideService(Clock.Clock, time.clock()),
    Effect.provideService(Random.Random, root.fork("world"))
  ))
  if (Exit.isFailure(exit)) bugs.push(`the world itself ended: ${Cause.pretty(exit.cause)}`)
  const history: History = {
    streams: streamsOf(broker),
    work: marks,
    acknowledged,
    cancelled,
    gone: new Set(rented.map(({ machine }) => machine.hostId)),
    capacity: new Map([...hostsOf, ...rented].map(({ machine }) => [machine.hostId, machine.capabilities.resources]))
  }
  return {
    seed,
    history,
    sometimes,
    bugs,
    checkpoints,
    broker,
    startMs,
    struckAtMs,
    contested,
    decider: plants.decider ?? scheduler,
    calm: strike === undefined && Object.values(swarm).every((rate) => rate === 0),
    stuck: [...submitted].filter((jobId) => !settled.has(jobId)),
    virtualMs: time.nowMs - startMs
  }
}

/**
 * Hosts of different sizes: small enough that jobs must wait for each other, and the first has a GPU, so that
 * no job waits for ever.
 */
const capabilitiesOf = (chance: Chance, index: number): Capabilities => {
  const resources = {
    cpuMilli: chance.between(2, 4) * 1_000,
    memoryMib: chance.between(1, 4) * 1_024,
    diskMib: 10_000,
    gpus: chance.between(index === 0 ? 1 : 0, 2)
  }
  return {
    resources,
    gpus: Array.from({ length: resources.gpus }, (_, device) => ({ index: device, model: "NVIDIA T4", memoryMib: 15_360 })),
    runtimes: ["noop", "process"],
    trusts: ["own"],
    labels: {}
  }
}

/** The hosts belong to the cell from the start. */
const admit = (broker: Broker, hosts: ReadonlyArray<HostId>): void => {
  for (const [index, hostId] of hosts.entries()) {
    const id = deriveId<FactId>("fct", broker.time.nowMs, hostId, "admitted")
    broker.store({
      subject: { kind: "admission", scope: "cell" },
      actor: "service:access" as Principal,
      happenedAtMs: broker.time.nowMs,
      facts: [{
        id,
        partOf: id,
        event: { _tag: "HostAdmitted", hostId, publicKey: `U${"A".repeat(55)}`, admittedBy: "user:ada" as Principal, oneTimeKeyDigest: "none" }
      }]
    }, { last: "subject", sequence: index })
  }
}

/** A scheduler's disk: it outlives its lives, and every checkpoint that was ever on it is kept for the laws. */
const checkpointsOn = (disk: Map<string, Checkpoint>, all: Array<Checkpoint>, life: Life): Layer.Layer<Checkpoints> =>
  Layer.succeed(Checkpoints, {
    load: (fold) => Effect.sync(() => disk.get(fold)),
    newest: (fold) => Effect.sync(() => {
      const kept = disk.get(fold)
      return kept === undefined ? undefined : { ...kept, sameFacts: true }
    }),
    save: (checkpoint) =>
      crashPoint(`checkpoint ${checkpoint.fold} drafted`).pipe(Effect.andThen(life.guard(Effect.sync(() => {
        // As a file would: what is loaded shares nothing with what was saved.
        const written = asReadBack(checkpoint)!
        disk.set(checkpoint.fold, written)
        all.push(written)
      }))))
  })

/** Signs by hash: real signatures would cost most of a run, and what they prove is proven where they are made. */
const signatureOf = (warrant: Warrant): string => createHash("sha256").update(JSON.stringify(warrant, (_, held: unknown) => typeof held === "bigint" ? String(held) : held)).digest("base64url")

const signer = Layer.succeed(WarrantSigner, { sign: signatureOf })

const verifier = Layer.succeed(WarrantVerifier, {
  verify: (warrant, signature) =>
    signatureOf(warrant) === signature ? Effect.void : Effect.fail(new WarrantForged({ warrantId: warrant.warrantId }))
})

/** An agent may end because somebody spoke on its subject, or the log was silent at its start. All else is a bug. */
const bugIn = (death: Death): string | undefined => {
  if (death._tag === "Killed") return undefined
  const explained = death.cause.reasons.every((reason) =>
    reason._tag === "Interrupt" || (reason._tag === "Die" && ["Overtaken", "JournalUnavailable"].includes((reason.defect as { _tag?: string })._tag ?? "")))
  return explained ? undefined : Cause.pretty(death.cause)
}
