import { crashPoint } from "@millrace/journal"
import { type AttemptId, type Capabilities, type HostId, type PlacementMade, type Runtime as RuntimeName } from "@millrace/schemas"
import type { Broker, Chance, Life, WorkMark } from "@millrace/sim"
import { Effect, Layer, Option } from "effect"
import { type Kept, Ledger, nothingKept } from "../../services/host/src/machine/ledger.ts"
import { Machine } from "../../services/host/src/machine/machine.ts"
import { noop } from "../../services/host/src/machine/noop.ts"
import { CannotStart, type Running, type Runtime, Runtimes } from "../../services/host/src/machine/runtime.ts"

interface How {
  readonly code?: number
  readonly signal?: string
}

interface Work {
  readonly made: PlacementMade
  how: How | undefined
  readonly listeners: Array<(how: How) => void>
}

/** What may be wrong with a machine's software, for the tests that plant it. */
export interface MachineBugs {
  readonly ledgerForgets?: boolean
  readonly leavesOrphans?: boolean
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
  #boots = 1

  constructor({ broker, bugs, capabilities, chance, hostId, marks }: {
    readonly broker: Broker
    readonly chance: Chance
    readonly hostId: HostId
    readonly capabilities: Capabilities
    readonly marks: Array<WorkMark>
    readonly bugs: MachineBugs
  }) {
    this.#broker = broker
    this.#chance = chance
    this.#marks = marks
    this.#bugs = bugs
    this.hostId = hostId
    this.capabilities = capabilities
  }

  /** All work on it ends; its disk stays. */
  reboot(): void {
    this.#boots += 1
    for (const attemptId of [...this.#work.keys()]) this.#stop(attemptId, { signal: "SIGKILL" })
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
      start: Effect.fnUntraced({ self: this }, function*({ made }) {
        yield* crashPoint("start work before")
        if (this.#chance.happens(0.05)) return yield* new CannotStart({ runtime: "process", detail: "the simulated program does not exist" })
        const work = yield* life.guard(Effect.sync(() => this.#begin(made)))
        yield* crashPoint("start work after")
        return this.#running(life, made.attemptId, work)
      }),
      adopt: () => Effect.succeed(Option.none()),
      endOrphan: (attemptId) =>
        this.#bugs.leavesOrphans === true
          ? Effect.void
          : crashPoint("end orphan").pipe(Effect.andThen(life.guard(Effect.sync(() => this.#stop(attemptId, { signal: "SIGKILL" })))))
    }
  }

  #begin(made: PlacementMade): Work {
    const work: Work = { made, how: undefined, listeners: [] }
    // A second start of one attempt is what must never happen: it is marked, and the laws find it.
    this.#mark(made, "started")
    this.#work.set(made.attemptId, work)
    const lastsMs = this.#chance.happens(0.15) ? this.#chance.between(2_000, 6_000) : this.#chance.between(1, 800)
    const code = this.#chance.happens(0.75) ? 0 : 1
    this.#broker.time.after(lastsMs, () => {
      if (this.#work.get(made.attemptId) === work) this.#stop(made.attemptId, { code })
    })
    return work
  }

  #running(life: Life, attemptId: AttemptId, work: Work): Running {
    // The agent hears of the end as a process hears of its child's: not when it is dead or stands still.
    const ended = Effect.callback<How>((resume) => {
      const hear = (how: How) => life.receive(() => resume(Effect.succeed(how)))
      if (work.how === undefined) work.listeners.push(hear)
      else hear(work.how)
    }).pipe(Effect.map((how) => ({ ...how, output: [] })))
    const stop = life.guard(Effect.sync(() => {
      this.#broker.time.after(this.#chance.between(0, 50), () => this.#stop(attemptId, { signal: "SIGTERM" }))
    }))
    return { ended, extend: () => Effect.void, stop: Effect.andThen(stop, Effect.asVoid(ended)), release: Effect.void }
  }

  #stop(attemptId: AttemptId, how: How): void {
    const work = this.#work.get(attemptId)
    if (work === undefined) return
    this.#work.delete(attemptId)
    this.#mark(work.made, "stopped")
    work.how = how
    for (const hear of work.listeners) hear(how)
  }

  #mark({ attempt, attemptId, jobId, spec: { resources } }: PlacementMade, mark: WorkMark["mark"]): void {
    this.#marks.push({ atMs: this.#broker.time.nowMs, hostId: this.hostId, jobId, attempt, attemptId, mark, resources })
  }
}
