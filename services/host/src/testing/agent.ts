import { Blobs, memoryStoreIn } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { type BeatAnswer, Beats, Journal, type JournalShape, JournalUnavailable, MemoryLog, memoryJournal } from "@millrace/journal"
import { type AttemptId, type Digest, type MillFact, type PlacementMade, Principal, Program, type Runtime as RuntimeName, type Subject } from "@millrace/schemas"
import { Keyring, keyringInMemory, sealValue, WarrantSigner, warrantPair, WarrantVerifier } from "@millrace/service"
import { Context, Deferred, Effect, Fiber, Layer, Option, Result } from "effect"
import { TestClock } from "effect/testing"
import { Doors } from "../machine/doors.ts"
import { Gpus, type GpusShape } from "../machine/gpus.ts"
import { type Kept, Ledger, nothingKept } from "../machine/ledger.ts"
import { LocalCopies, type LocalCopiesShape } from "../machine/local-copies.ts"
import { Machine } from "../machine/machine.ts"
import { noop } from "../machine/noop.ts"
import { type Ended, type Running, type Runtime, Runtimes } from "../machine/runtime.ts"
import { type AtStop, hostService } from "../service.ts"
import { capabilities, hostId, workspace } from "./placement.ts"

/** Work whose end the test decides: a runtime like any other, with no machine behind it. */
class Work {
  readonly started: Array<AttemptId> = []
  readonly stopped: Array<AttemptId> = []
  readonly orphansEnded: Array<AttemptId> = []
  readonly programs = new Map<AttemptId, Program>()
  /** By attempt, until somebody extends them: when it would be killed. */
  readonly deadlines = new Map<AttemptId, number>()
  /** What all of it has done until now. */
  doings = { saidBytes: 0, cpuMs: 0, gangBytes: 0, agoMs: 0 }
  /** How long each start takes from now on. */
  startMs = 0
  /** How long it takes from now on to keep what work left, once it is over. */
  keepingMs = 0
  /** What runs, or has ended and was not released: it outlives agents. */
  readonly #kept = new Map<AttemptId, Deferred.Deferred<Ended>>()

  runtime(step: Effect.Effect<void>): Runtime {
    return {
      name: "process",
      start: ({ deadlineMs, made, program }) => Effect.gen({ self: this }, function*() {
        yield* step
        const ended = yield* Deferred.make<Ended>()
        if (this.startMs > 0) yield* Effect.sleep(this.startMs)
        this.started.push(made.attemptId)
        this.programs.set(made.attemptId, program)
        this.deadlines.set(made.attemptId, deadlineMs)
        this.#kept.set(made.attemptId, ended)
        yield* step
        return this.#running(made, ended)
      }),
      adopt: (made) => Effect.sync(() => Option.map(Option.fromNullishOr(this.#kept.get(made.attemptId)), (ended) => this.#running(made, ended))),
      endOrphan: (attempt) => Effect.sync(() => {
        this.orphansEnded.push(attempt)
        this.#kept.delete(attempt)
      })
    }
  }

  #running(made: PlacementMade, ended: Deferred.Deferred<Ended>): Running {
    return {
      startedAt: { bootId: "boot", hostMs: 0 },
      ended: Effect.tap(Deferred.await(ended), () => this.keepingMs === 0 ? Effect.void : Effect.uninterruptible(Effect.sleep(this.keepingMs))),
      doings: Effect.sync(() => this.doings),
      extend: (deadlineMs) => Effect.sync(() => void this.deadlines.set(made.attemptId, Math.max(deadlineMs, this.deadlines.get(made.attemptId) ?? 0))),
      stop: Effect.sync(() => {
        this.stopped.push(made.attemptId)
        this.end(made, { signal: "SIGTERM", output: [] })
      }),
      release: Effect.sync(() => void this.#kept.delete(made.attemptId))
    }
  }

  end({ attemptId }: Pick<PlacementMade, "attemptId">, ended: Ended): void {
    const kept = this.#kept.get(attemptId)
    if (kept !== undefined) Deferred.doneUnsafe(kept, Effect.succeed(ended))
  }

  /** The machine went down: nothing runs, and nobody wrote down how it ended. */
  lose(): void {
    this.#kept.clear()
  }
}

/** A machine with its disk, and the log that it speaks in. Agents come and go on it. */
export class Site {
  readonly log = new MemoryLog()
  readonly journal: JournalShape = memoryJournal(this.log)
  readonly kept: Kept = nothingKept()
  readonly blobs = new Map<Digest, Parameters<typeof memoryStoreIn>[0] extends Map<Digest, infer Held> ? Held : never>()
  readonly work = new Work()
  readonly secrets: Context.Context<Keyring | WarrantSigner | WarrantVerifier>
  #agent: { readonly fiber: Fiber.Fiber<unknown, unknown>; readonly life: { dead: boolean } } | undefined
  #steps = 0
  #fallsAt = Number.POSITIVE_INFINITY
  fallen = false
  /** How many look-ups the log leaves unanswered from now on. */
  unanswered = 0
  /** The copies that the machine's disk holds; none without. */
  copies: LocalCopiesShape | undefined
  /** The machine's GPUs; none without. */
  gpus: GpusShape | undefined
  capabilities = capabilities
  /** What the scheduler answers to beats; nothing: it does not. */
  answer: BeatAnswer | undefined = { term: 1, leaseMs: 15_000, lost: false }
  beats = 0

  constructor(secrets: Site["secrets"]) {
    this.secrets = secrets
  }

  static readonly make = Effect.map(Layer.build(Layer.merge(keyringInMemory, warrantPair)), (secrets) => new Site(secrets))

  /** Has the agent fall between two effects: at the nth place from now where it touches the world. */
  fallAt(step: number): void {
    this.#steps = 0
    this.#fallsAt = step
  }

  /** The agent passes such a place. Where it falls nothing behind it happens, then or ever. */
  readonly #stepOf = (life: { dead: boolean }): Effect.Effect<void> => Effect.suspend(() => {
    if (life.dead) return Effect.never
    this.#steps += 1
    if (this.#steps !== this.#fallsAt) return Effect.void
    this.fallen = true
    life.dead = true
    return Effect.never
  })

  /** Told to stop, the agent leaves as its operator said. */
  atStop: AtStop = "leave"

  readonly #agentIn = (life: { dead: boolean }) => {
    const step = this.#stepOf(life)
    const around = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.andThen(step, Effect.tap(effect, () => step))
    const { append, last, ...rest } = this.journal
    const world = Layer.mergeAll(
      Layer.succeed(Journal, {
        ...rest,
        append: (commit, expect) => around(append(commit, expect)),
        last: (subject) => Effect.suspend(() => {
          this.unanswered -= 1
          return this.unanswered < 0 ? last(subject) : Effect.fail(new JournalUnavailable({ doing: "looking up the last word", detail: "the test says so" }))
        })
      }),
      Layer.effect(Blobs, Effect.sync(() => {
        const blobs = Blobs.on(memoryStoreIn(this.blobs))
        return { ...blobs, putBytes: (bytes: Uint8Array) => around(blobs.putBytes(bytes)) }
      })),
      Layer.effect(Ledger, Effect.map(Ledger, ({ remember, ...rest }) =>
        ({ ...rest, remember: (attempt, remembered) => around(remember(attempt, remembered)) }))).pipe(Layer.provide(Ledger.layerKept(this.kept))),
      Machine.layerSimulated(hostId, "boot", this.capabilities),
      Doors.none,
      this.copies === undefined ? Layer.empty : Layer.succeed(LocalCopies, this.copies),
      this.gpus === undefined ? Layer.empty : Layer.succeed(Gpus, this.gpus),
      Layer.succeed(Beats, {
        beat: () => Effect.sync(() => {
          this.beats += 1
          return this.answer
        }),
        answer: () => Effect.void
      }),
      Layer.sync(Runtimes, () => new Map<RuntimeName, Runtime>([["process", this.work.runtime(step)], ["noop", noop]])),
      Layer.succeedContext(this.secrets)
    )
    return Layer.launch(hostService({ atStop: this.atStop }).pipe(Layer.provide(world)))
  }

  readonly start = Effect.gen({ self: this }, function*() {
    this.fallen = false
    const life = { dead: false }
    this.#agent = { fiber: yield* Effect.forkDetach(this.#agentIn(life)), life }
    yield* this.settle
  })

  /** The agent is gone between two lines, as by a kill: it says and does nothing any more. */
  readonly kill = Effect.sync(() => {
    if (this.#agent === undefined) return
    this.#agent.life.dead = true
    this.#agent.fiber.interruptUnsafe()
    this.#agent = undefined
  })

  /** The agent is told to stop, and has stopped. */
  readonly stop = Effect.gen({ self: this }, function*() {
    if (this.#agent === undefined) return
    const stopping = yield* Effect.forkDetach(Fiber.interrupt(this.#agent.fiber))
    this.#agent = undefined
    yield* this.settle
    return stopping.pollUnsafe() !== undefined
  })

  /** Lets everything happen that needs no time: turn after turn, until nothing has changed for a good while. */
  readonly settle = Effect.gen({ self: this }, function*() {
    let [still, seen] = [0, ""]
    while (still < 20) {
      yield* TestClock.adjust(0)
      const now = JSON.stringify([this.beats, this.log.head("ACCESS"), this.log.head("SCHEDULER"), this.log.head("HOSTS"), this.log.acknowledged("SCHEDULER", `host-${hostId}`), this.#steps, this.work.orphansEnded.length])
      still = now === seen ? still + 1 : 0
      seen = now
    }
  })

  /** Says a fact of the scheduler, or of access, as a commit of its own. */
  readonly hear = Effect.fnUntraced({ self: this }, function*(event: MillFact, told = event._tag) {
    const byAccess = event._tag === "WarrantRevoked" || event._tag === "WarrantNarrowed"
    const subject: Subject = { kind: byAccess ? "warrant" : "placement", scope: hostId }
    const id = deriveId<never>("fct", 0, "attemptId" in event ? event.attemptId : "", told)
    const sequence = this.log.head(byAccess ? "ACCESS" : "SCHEDULER")
    yield* this.journal.append({ subject, actor: Principal.make(byAccess ? "service:access" : "service:scheduler"), happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, { last: "stream", sequence })
    yield* this.settle
  })

  /** Signed by the cell, with its program sealed for it. */
  readonly signed = Effect.fnUntraced({ self: this }, function*(made: PlacementMade, program: Program = { argv: ["true"], env: {}, labels: {} }) {
    const sealed = yield* sealValue(Program)(workspace, program, `${made.jobId}/program`).pipe(Effect.provide(this.secrets))
    return { ...made, spec: { ...made.spec, program: sealed }, signature: Context.get(this.secrets, WarrantSigner).sign(made.warrant) }
  })

  /** All that the host said of its attempts, in order. */
  readonly said = Effect.suspend(() => this.#saidAs("attempt"))

  /** All that it said of itself. */
  readonly saidOfItself = Effect.suspend(() => this.#saidAs("host"))

  readonly #saidAs = (kind: "attempt" | "host") =>
    Effect.map(this.journal.story({ kind, scope: hostId }), (commits) => commits.flatMap(({ facts }) => facts.map(({ event, id }) => ({ id, event: Result.getOrThrow(event) }))))

  /** Whether every placement was handled. */
  get allHandled(): boolean {
    return this.log.acknowledged("SCHEDULER", `host-${hostId}`) === this.log.head("SCHEDULER")
  }
}
