import { assert, describe, it } from "@effect/vitest"
import { Blobs } from "@millrace/blobs"
import { Checkpoints, Journal, type JournalShape, memoryJournal, MemoryLog } from "@millrace/journal"
import { type MillFact, Principal } from "@millrace/schemas"
import { Context, Effect, Fiber, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { exited, expiryAsked, hostId, imageAsked, lost, otherHost, placed, saying, snapshotAsked, subjectOf, written } from "../testing/cell.ts"
import { job } from "../testing/cell.ts"
import { keepSnapshots } from "./keep-snapshots.ts"

const [good, bad, empty, gone] = [placed(1), placed(2), placed(3), placed(4, { on: otherHost })]
const nowhere = { digest: `sha256:${"0".repeat(64)}` as never, sizeBytes: 9 }

const expected = [
  "AskFoundDone", "AskRefused invalid", "SnapshotAbandoned host_lost", "SnapshotAbandoned not_whole", "SnapshotAbandoned not_written", "SnapshotAvailable",
  "SnapshotExpired asked", "SnapshotPlanned", "SnapshotPlanned", "SnapshotPlanned", "SnapshotPlanned"
]

/** A log with a service beside it that can be ended between any two of its effects, and begun anew. */
class Site {
  readonly log = new MemoryLog()
  readonly journal: JournalShape = memoryJournal(this.log)
  readonly kept: Context.Context<Blobs | Checkpoints>
  steps = 0
  #fallsAt = Number.POSITIVE_INFINITY
  #service: Fiber.Fiber<unknown, unknown> | undefined

  constructor(kept: Site["kept"]) {
    this.kept = kept
  }

  fallAt(step: number): void {
    this.steps = 0
    this.#fallsAt = step
  }

  readonly #step = Effect.suspend(() => {
    this.steps += 1
    return this.steps === this.#fallsAt ? Effect.never : Effect.void
  })

  readonly start = Effect.gen({ self: this }, function*() {
    const { append, ...rest } = this.journal
    const journal: JournalShape = { ...rest, append: (commit, expect) => Effect.andThen(this.#step, Effect.tap(append(commit, expect), () => this.#step)) }
    this.#service = yield* Effect.forkChild(keepSnapshots({ checkpointEvery: 3 }).pipe(Effect.provideService(Journal, journal), Effect.provide(Layer.succeedContext(this.kept))))
    yield* this.settle
  })

  readonly kill = Effect.gen({ self: this }, function*() {
    if (this.#service !== undefined) yield* Fiber.interrupt(this.#service)
    this.fallAt(Number.POSITIVE_INFINITY)
  })

  readonly settle = Effect.gen({ self: this }, function*() {
    let [still, seen] = [0, -1]
    while (still < 30) {
      yield* TestClock.adjust(0)
      const now = this.log.head("SNAPSHOTS") + this.steps
      still = now === seen ? still + 1 : 0
      seen = now
    }
  })

  readonly hear = Effect.fnUntraced({ self: this }, function*(event: MillFact) {
    const subject = subjectOf(event)
    const last = yield* this.journal.last(subject)
    yield* this.journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs: 0, facts: [saying(event)] }, { last: "subject", sequence: last?.place.sequence ?? 0 })
  })

  /** All that was said of snapshots, each in a few words. */
  readonly said = Effect.gen({ self: this }, function*() {
    const stories = yield* Effect.all([this.journal.story({ kind: "snapshot", scope: "acme" }), this.journal.story({ kind: "answer", scope: "snapshots", story: "acme" })])
    return stories.flat().flatMap(({ facts }) => facts.map(({ event }) => {
      const fact = Result.getOrThrow(event)
      return "cause" in fact && fact._tag !== "SnapshotPlanned" ? `${fact._tag} ${String(fact.cause)}` : fact._tag === "AskRefused" ? `${fact._tag} ${fact.reason}` : fact._tag
    })).sort()
  })
}

const makeSite = Effect.map(Layer.build(Layer.merge(Blobs.memory, Checkpoints.layerMemory)), (kept) => new Site(kept))

/** Everything that can become of a snapshot, told as it happens. */
const history = Effect.fnUntraced(function*(site: Site) {
  const blob = yield* Context.get(site.kept, Blobs).putBytes(Buffer.from("files"))
  for (const event of [good, bad, empty, gone]) yield* site.hear(event)
  for (const event of [written(good, blob), exited(good), written(bad, nowhere), exited(bad), exited(empty)]) yield* site.hear(event)
  yield* site.hear(lost(otherHost))
  yield* site.hear(snapshotAsked(2, job(1)))
  yield* site.hear(imageAsked(3))
  yield* site.settle
  yield* site.hear(expiryAsked(1, good))
  yield* site.settle
})

describe("keeping snapshots", () => {
  it.effect("says each thing once, wherever it falls", () => Effect.gen(function*() {
    const whole = yield* makeSite
    yield* whole.start
    yield* history(whole)
    yield* whole.kill
    assert.deepStrictEqual(yield* whole.said, expected)
    const places = 2 * expected.length
    for (let place = 1; place <= places; place += 1) {
      const site = yield* makeSite
      site.fallAt(place)
      yield* site.start
      yield* history(site)
      assert.strictEqual(site.steps, place, "it fell")
      yield* site.kill
      yield* site.start
      yield* site.settle
      // A snapshot that was still to be said cannot expire: that ask was answered by another word.
      const said = yield* site.said
      assert.strictEqual(said.length, expected.length, `${place}: ${said.join(", ")}`)
      assert.deepStrictEqual(said.filter((name) => name.startsWith("Snapshot") && !name.startsWith("SnapshotExpired")), expected.filter((name) => name.startsWith("Snapshot") && !name.startsWith("SnapshotExpired")))
      yield* site.kill
    }
  }))

  it.effect("two of them say no more than one", () => Effect.gen(function*() {
    const site = yield* makeSite
    yield* site.start
    yield* site.start
    yield* history(site)
    yield* site.start
    yield* site.settle
    assert.deepStrictEqual(yield* site.said, expected)
    assert.strictEqual(good.hostId, hostId)
  }))
})
