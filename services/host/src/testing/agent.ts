import { Blobs, memoryStoreIn } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { Journal, type JournalShape, JournalUnavailable, MemoryLog, memoryJournal } from "@millrace/journal"
import { type AttemptId, type Digest, type MillFact, type PlacementMade, Principal, Program, type Runtime as RuntimeName, type Subject } from "@millrace/schemas"
import { Keyring, keyringInMemory, sealValue, WarrantSigner, warrantPair, WarrantVerifier } from "@millrace/service"
import { Context, Deferred, Effect, Fiber, Layer, Option, Result } from "effect"
import { TestClock } from "effect/testing"
import { type Kept, Ledger, nothingKept } from "../machine/ledger.ts"
import { Machine } from "../machine/machine.ts"
import { noop } from "../machine/noop.ts"
import { type Ended, type Runtime, Runtimes } from "../machine/runtime.ts"
import { HostService } from "../service.ts"
import { capabilities, hostId, workspace } from "./placement.ts"

/** Work whose end the test decides: a runtime like any other, with no machine behind it. */
class Work {
  readonly started: Array<AttemptId> = []
  readonly stopped: Array<AttemptId> = []
  readonly orphansEnded: Array<AttemptId> = []
  readonly programs = new Map<AttemptId, Program>()
  readonly #running = new Map<AttemptId, Deferred.Deferred<Ended>>()

  runtime(step: Effect.Effect<void>): Runtime {
    return {
      name: "process",
      start: ({ made, program }) => Effect.gen({ self: this }, function*() {
        yield* step
        const ended = yield* Deferred.make<Ended>()
        this.started.push(made.attemptId)
        this.programs.set(made.attemptId, program)
        this.#running.set(made.attemptId, ended)
        yield* step
        return {
          ended: Deferred.await(ended),
          extend: () => Effect.void,
          stop: Effect.sync(() => {
            this.stopped.push(made.attemptId)
            this.end(made, { signal: "SIGTERM", output: [] })
          }),
          release: Effect.void
        }
      }),
      adopt: () => Effect.succeed(Option.none()),
      endOrphan: (attempt) => Effect.sync(() => {
        this.orphansEnded.push(attempt)
        this.#running.delete(attempt)
      })
    }
  }

  end({ attemptId }: PlacementMade, ended: Ended): void {
    const running = this.#running.get(attemptId)
    this.#running.delete(attemptId)
    if (running !== undefined) Deferred.doneUnsafe(running, Effect.succeed(ended))
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
  #agent: Fiber.Fiber<unknown, unknown> | undefined
  #steps = 0
  #fallsAt = Number.POSITIVE_INFINITY
  fallen = false
  /** How many look-ups the log leaves unanswered from now on. */
  unanswered = 0

  constructor(secrets: Site["secrets"]) {
    this.secrets = secrets
  }

  static readonly make = Effect.map(Layer.build(Layer.merge(keyringInMemory, warrantPair)), (secrets) => new Site(secrets))

  /** Has the agent fall between two effects: at the nth place from now where it touches the world. */
  fallAt(step: number): void {
    this.#steps = 0
    this.#fallsAt = step
  }

  /** The agent passes such a place. Where it falls nothing behind it happens. */
  readonly #step: Effect.Effect<void> = Effect.suspend(() => {
    this.#steps += 1
    if (this.#steps !== this.#fallsAt) return this.fallen ? Effect.never : Effect.void
    this.fallen = true
    return Effect.never
  })

  readonly #around = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.andThen(this.#step, Effect.tap(effect, () => this.#step))

  readonly agent = Effect.suspend(() => {
    const { append, last, ...rest } = this.journal
    const world = Layer.mergeAll(
      Layer.succeed(Journal, {
        ...rest,
        append: (commit, expect) => this.#around(append(commit, expect)),
        last: (subject) => Effect.suspend(() => {
          this.unanswered -= 1
          return this.unanswered < 0 ? last(subject) : Effect.fail(new JournalUnavailable({ doing: "looking up the last word", detail: "the test says so" }))
        })
      }),
      Layer.effect(Blobs, Effect.sync(() => {
        const blobs = Blobs.on(memoryStoreIn(this.blobs))
        return { ...blobs, putBytes: (bytes: Uint8Array) => this.#around(blobs.putBytes(bytes)) }
      })),
      Layer.effect(Ledger, Effect.map(Ledger, ({ remember, ...rest }) =>
        ({ ...rest, remember: (attempt, remembered) => this.#around(remember(attempt, remembered)) }))).pipe(Layer.provide(Ledger.layerKept(this.kept))),
      Machine.layerSimulated(hostId, "boot", capabilities),
      Layer.sync(Runtimes, () => new Map<RuntimeName, Runtime>([["process", this.work.runtime(this.#step)], ["noop", noop]])),
      Layer.succeedContext(this.secrets)
    )
    return Layer.launch(HostService.pipe(Layer.provide(world)))
  })

  readonly start = Effect.gen({ self: this }, function*() {
    this.fallen = false
    this.#agent = yield* Effect.forkChild(this.agent)
    yield* this.settle
  })

  /** The agent is gone between two lines, as by a kill. */
  readonly kill = Effect.gen({ self: this }, function*() {
    if (this.#agent !== undefined) yield* Fiber.interrupt(this.#agent)
    this.#agent = undefined
  })

  /** Lets everything happen that needs no time: turn after turn, until nothing has changed for a good while. */
  readonly settle = Effect.gen({ self: this }, function*() {
    let [still, seen] = [0, ""]
    while (still < 20) {
      yield* TestClock.adjust(0)
      const now = JSON.stringify([this.log.head("SCHEDULER"), this.log.head("HOSTS"), this.log.acknowledged("SCHEDULER", `host-${hostId}`), this.#steps, this.work.orphansEnded.length])
      still = now === seen ? still + 1 : 0
      seen = now
    }
  })

  /** Says a fact of the scheduler, as a commit of its own. */
  readonly hear = Effect.fnUntraced({ self: this }, function*(event: MillFact, told = event._tag) {
    const subject: Subject = { kind: "placement", scope: hostId }
    const id = deriveId<never>("fct", 0, "attemptId" in event ? event.attemptId : "", told)
    const sequence = this.log.head("SCHEDULER")
    yield* this.journal.append({ subject, actor: Principal.make("service:scheduler"), happenedAtMs: 0, facts: [{ id, partOf: id, event }] }, { last: "stream", sequence })
    yield* this.settle
  })

  /** Signed by the cell, with its program sealed for it. */
  readonly signed = Effect.fnUntraced({ self: this }, function*(made: PlacementMade, program: Program = { argv: ["true"], env: {}, labels: {} }) {
    const sealed = yield* sealValue(Program)(workspace, program, `${made.jobId}/program`).pipe(Effect.provide(this.secrets))
    return { ...made, spec: { ...made.spec, program: sealed }, signature: Context.get(this.secrets, WarrantSigner).sign(made.warrant) }
  })

  /** All that the host said of its attempts, in order. */
  readonly said = Effect.map(
    Effect.suspend(() => this.journal.story({ kind: "attempt", scope: hostId })),
    (commits) => commits.flatMap(({ facts }) => facts.map(({ event, id }) => ({ id, event: Result.getOrThrow(event) })))
  )

  /** Whether every placement was handled. */
  get allHandled(): boolean {
    return this.log.acknowledged("SCHEDULER", `host-${hostId}`) === this.log.head("SCHEDULER")
  }
}
