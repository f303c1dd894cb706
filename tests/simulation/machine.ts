import { crashPoint } from "@millrace/journal"
import { type AttemptId, type Capabilities, type HostId, type PlacementMade, type Runtime as RuntimeName } from "@millrace/schemas"
import type { Broker, Chance, Life, WorkMark } from "@millrace/sim"
import { Effect, Layer, Option } from "effect"
import { type Kept, Ledger, nothingKept } from "../../services/host/src/machine/ledger.ts"
import { Machine } from "../../services/host/src/machine/machine.ts"
import { noop } from "../../services/host/src/machine/noop.ts"
import { CannotStart, type Running, type Runtime, Runtimes } from "../../services/host/src/machine/runtime.ts"

/** The most of the work is short. */
export const mostlyShortMs = (chance: Chance): number => chance.happens(0.2) ? chance.between(2_000, 8_000) : chance.between(1, 800)

/** All of it lasts for seconds, so that a lease may end under it. */
export const longMs = (chance: Chance): number => chance.between(6_000, 15_000)

interface How {
  readonly code?: number
  readonly signal?: string
  readonly cause?: "lease_ended"
}

interface Work {
  readonly made: PlacementMade
  readonly started: WorkMark
  how: How | undefined
  /** On the host's own clock. */
  deadlineMs: number
  readonly listeners: Array<(how: How) => void>
}

/** What may be wrong with a machine's software, for the tests that plant it. */
export interface MachineBugs {
  readonly ledgerForgets?: boolean
  readonly leavesOrphans?: boolean
  /** An agent that starts anew finds nothing of what runs, and does not end it either. */
  readonly forgetsWork?: boolean
  /** Work goes on whatever became of its host's lease. */
  readonly ignoresDeadlines?: boolean
}

/**
 * A machine that outlives its agents: its disk (the ledger), the work that runs on it, and a record of when
 * work truly started and stopped, which no agent can write.
 */
export class SimulatedMachine {
  readonly hostId: HostId
  readonly capabilities: Capabilities
  readonly kept: Kept = nothingKept()
  readonly #broker: Broker
  readonly #chance: Chance
  readonly #marks: Array<WorkMark>
  readonly #work = new Map<AttemptId, Work>()
  readonly #bugs: MachineBugs
  readonly #lastsMs: (chance: Chance) => number
  #boots = 1

  constructor({ broker, bugs, capabilities, chance, hostId, lastsMs, marks }: {
    readonly broker: Broker
    readonly chance: Chance
    readonly hostId: HostId
    readonly capabilities: Capabilities
    readonly marks: Array<WorkMark>
    readonly bugs: MachineBugs
    /** How long work lasts that nobody ends. */
    readonly lastsMs: (chance: Chance) => number
  }) {
    this.#broker = broker
    this.#chance = chance
    this.#marks = marks
    this.#bugs = bugs
    this.#lastsMs = lastsMs
    this.hostId = hostId
    this.capabilities = capabilities
  }

  /** All work on it ends; its disk stays. */
  reboot(): void {
    this.#boots += 1
    for (const attemptId of [...this.#work.keys()]) this.#stop(attemptId, { signal: "SIGKILL" })
    // The keeper went down with it: nobody knows how they ended.
    this.#work.clear()
  }

  /** What one life of the host's agent finds on this machine. */
  layer(life: Life): Layer.Layer<Ledger | Machine | Runtimes> {
    return Layer.mergeAll(
      this.#ledger(life),
      Machine.layerSimulated(this.hostId, `boot-${this.#boots}`, this.capabilities),
      Layer.succeed(Runtimes, new Map<RuntimeName, Runtime>([["noop", this.#noop(life)], ["process", this.#process(life)]]))
    )
  }

  #ledger(life: Life): Layer.Layer<Ledger> {
    return Layer.effect(Ledger, Effect.map(Ledger, (ledger): Ledger["Service"] => ({
      ...ledger,
      remember: (attempt, remembered) =>
        this.#bugs.ledgerForgets === true && remembered.state !== "withdrawn"
          ? Effect.void
          : crashPoint(`remember ${remembered.state} before`).pipe(
            Effect.andThen(life.guard(ledger.remember(attempt, remembered))),
            Effect.tap(() => crashPoint(`remember ${remembered.state} after`))
          )
    }))).pipe(Layer.provide(Ledger.layerKept(this.kept)))
  }

  #noop(life: Life): Runtime {
    return {
      ...noop,
      start: (start) =>
        life.guard(Effect.andThen(
          Effect.sync(() => {
            this.#mark(start.made, "started")
            this.#mark(start.made, "stopped")
          }),
          noop.start(start)
        ))
    }
  }

  /** Work that takes virtual time and exits with a code of the seed's choice. */
  #process(life: Life): Runtime {
    return {
      name: "process",
      start: Effect.fnUntraced({ self: this }, function*({ deadlineMs, made }) {
        yield* crashPoint("start work before")
        if (this.#chance.happens(0.05)) return yield* new CannotStart({ runtime: "process", detail: "the simulated program does not exist" })
        const work = yield* life.guard(Effect.sync(() => {
          // The keeper begins nothing whose deadline has passed.
          if (deadlineMs <= this.#broker.time.nowMs + life.process.skewMs && this.#bugs.ignoresDeadlines !== true) return undefined
          const work = this.#begin(made)
          this.#extend(life, work, deadlineMs)
          return work
        }))
        if (work === undefined) return yield* new CannotStart({ runtime: "process", detail: "the host's lease was over before it began" })
        yield* crashPoint("start work after")
        return this.#running(life, work)
      }),
      adopt: ({ attemptId }) =>
        crashPoint("adopt work").pipe(Effect.andThen(life.guard(Effect.sync(() => {
          const work = this.#bugs.forgetsWork === true ? undefined : this.#work.get(attemptId)
          return work === undefined ? Option.none() : Option.some(this.#running(life, work))
        })))),
      endOrphan: (attemptId) =>
        this.#bugs.leavesOrphans === true
          ? Effect.void
          : crashPoint("end orphan").pipe(Effect.andThen(life.guard(Effect.sync(() => {
            this.#stop(attemptId, { signal: "SIGKILL" })
            this.#work.delete(attemptId)
          }))))
    }
  }

  #begin(made: PlacementMade): Work {
    // A second start of one attempt is what must never happen: it is marked, and the laws find it.
    const work: Work = { made, started: this.#mark(made, "started"), how: undefined, deadlineMs: 0, listeners: [] }
    this.#work.set(made.attemptId, work)
    const lastsMs = this.#lastsMs(this.#chance)
    const code = this.#chance.happens(0.75) ? 0 : 1
    this.#broker.time.after(lastsMs, () => {
      if (this.#work.get(made.attemptId) === work) this.#stop(made.attemptId, { code })
    })
    return work
  }

  /** The keeper's part, which no fault of the agent touches: at its deadline work is killed. */
  #extend(life: Life, work: Work, deadlineMs: number): void {
    if (deadlineMs <= work.deadlineMs || this.#bugs.ignoresDeadlines === true) return
    work.deadlineMs = deadlineMs
    if (work.how === undefined) work.started.keptUntilMs = deadlineMs - life.process.skewMs
    const leftMs = deadlineMs - life.process.skewMs - this.#broker.time.nowMs
    this.#broker.time.after(Math.max(0, leftMs), () => {
      if (work.deadlineMs === deadlineMs && this.#work.get(work.made.attemptId) === work) this.#stop(work.made.attemptId, { signal: "SIGKILL", cause: "lease_ended" })
    })
  }

  #running(life: Life, work: Work): Running {
    const { attemptId } = work.made
    // The agent hears of the end as a process hears of its child's: not when it is dead or stands still.
    const ended = Effect.callback<How>((resume) => {
      const hear = (how: How) => life.receive(() => resume(Effect.succeed(how)))
      if (work.how === undefined) work.listeners.push(hear)
      else hear(work.how)
    }).pipe(Effect.map((how) => ({ ...how, output: [] })))
    const stop = life.guard(Effect.sync(() => {
      this.#broker.time.after(this.#chance.between(0, 50), () => this.#stop(attemptId, { signal: "SIGTERM" }))
    }))
    return {
      startedAt: { bootId: `boot-${this.#boots}`, hostMs: work.started.atMs + life.process.skewMs },
      ended,
      extend: (deadlineMs) => life.guard(Effect.sync(() => this.#extend(life, work, deadlineMs))),
      stop: Effect.andThen(stop, Effect.asVoid(ended)),
      release: life.guard(Effect.sync(() => void this.#work.delete(attemptId)))
    }
  }

  #stop(attemptId: AttemptId, how: How): void {
    const work = this.#work.get(attemptId)
    if (work === undefined || work.how !== undefined) return
    this.#mark(work.made, "stopped")
    work.how = how
    for (const hear of work.listeners) hear(how)
  }

  #mark({ attempt, attemptId, jobId, spec: { resources }, task }: PlacementMade, mark: WorkMark["mark"]): WorkMark {
    const marked: WorkMark = { atMs: this.#broker.time.nowMs, hostId: this.hostId, jobId, ...(task === undefined ? {} : { task }), attempt, attemptId, mark, resources }
    this.#marks.push(marked)
    return marked
  }
}
