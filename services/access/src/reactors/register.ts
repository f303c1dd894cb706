import { deriveId } from "@millrace/decider"
import { type Appended, type CommitRefused, type Fact, foreseen, Journal, type JournalUnavailable, type NewFact, readable, type StoredCommit } from "@millrace/journal"
import type { FactId, GrantId, MillFact, Principal, Subject } from "@millrace/schemas"
import { endingWith, supervise } from "@millrace/service"
import { Clock, Context, Effect, Latch, Layer, Schema, Semaphore } from "effect"
import { emptyRegistry, learn, type Registry } from "../domain/registry.ts"

/** Access's own stream holds something that this program cannot read: it must not decide on what is left. */
export class StreamUnreadable extends Schema.TaggedError<StreamUnreadable>()("StreamUnreadable", { factName: Schema.String, sequence: Schema.Int }) {
  override get message() {
    return `Access must not decide any more: ${this.factName} at ACCESS ${this.sequence} cannot be read. Run a newer Millrace`
  }
}

/** What access says on one subject, as one commit. */
export interface Saying {
  readonly subject: Subject
  readonly actor: Principal
  /** A fact that belongs to no other story is the first of its own. */
  readonly facts: ReadonlyArray<{ readonly event: MillFact; readonly partOf?: FactId; readonly causedBy?: FactId; readonly grant?: GrantId }>
}

export type Unsaid = CommitRefused | JournalUnavailable

/**
 * All that access has said, and the one door to saying more. Everything access writes lies in one order:
 * each commit expects the stream's last, so whatever is decided was decided on all that was said before,
 * also where two processes of access run. Whoever is overtaken decides afresh.
 */
export class Register extends Context.Service<Register, {
  /** Live, and changed in place. */
  readonly registry: Registry
  /** Decides on everything that was said and says what comes of it; nothing said, nothing stored. */
  readonly say: (decide: (registry: Registry, atMs: number) => Saying | undefined) => Effect.Effect<Appended | undefined, Unsaid>
  /** Waits until authority has become less since it had become less so often, and says how often now. */
  readonly taken: (since: number) => Effect.Effect<number>
}>()("millrace/access/Register") {
  static readonly layer: Layer.Layer<Register, JournalUnavailable, Journal> = Layer.effect(Register, Effect.gen(function*() {
    const journal = yield* Journal
    const registry = emptyRegistry()
    const moved = yield* Latch.make(false)
    const oneByOne = yield* Semaphore.make(1)

    const hear = (commit: StoredCommit) => {
      if (commit.place.sequence <= registry.sequence) return
      const { facts, unreadable } = readable(commit)
      const unknown = unreadable.find(({ reason }) => commit.mustUnderstand || reason.reason !== "no such fact is known here")
      if (unknown !== undefined) throw new StreamUnreadable({ factName: unknown.name, sequence: commit.place.sequence })
      for (const fact of facts) learn(registry, fact)
      registry.sequence = commit.place.sequence
      moved.openUnsafe()
    }
    const until = (reached: () => boolean): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (reached()) return Effect.void
        moved.closeUnsafe()
        return Effect.andThen(moved.await, until(reached))
      })
    const upTo = (sequence: number) => until(() => registry.sequence >= sequence)

    const follow = Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("ACCESS", { after: registry.sequence })
      return yield* Effect.forever(Effect.map(reader.take, (commits) => commits.forEach(hear)))
    }))

    const say = (decide: (registry: Registry, atMs: number) => Saying | undefined) =>
      Effect.gen(function*() {
        const atMs = yield* Clock.currentTimeMillis
        const saying = decide(registry, atMs)
        if (saying === undefined || saying.facts.length === 0) return undefined
        const { sequence } = registry
        const commit = { subject: saying.subject, actor: saying.actor, happenedAtMs: atMs, facts: identified(saying, atMs, sequence) }
        const appended = yield* journal.append(commit, { last: "stream", sequence })
        hear(foreseen(commit, appended.stream, appended.sequence, appended.epoch))
        return appended
      }).pipe(
        Effect.tapError((error) => error._tag === "Overtaken" ? upTo(error.actual) : Effect.void),
        Effect.retry({ times: overtakenMax, while: (error) => error._tag === "Overtaken" }),
        Effect.catchTag("Overtaken", (error) => Effect.die(error)),
        oneByOne.withPermits(1)
      )

    yield* Effect.forkScoped(endingWith(supervise(follow, { name: "access.register" })))
    yield* Effect.flatMap(journal.head("ACCESS"), upTo)
    return { registry, say, taken: (since) => Effect.map(until(() => registry.taken !== since), () => registry.taken) }
  }))
}

/** Another process of access would have to come first so many times running. */
const overtakenMax = 100

const identified = ({ facts }: Saying, atMs: number, sequence: number): readonly [NewFact, ...ReadonlyArray<NewFact>] => {
  let first: FactId | undefined
  return facts.map(({ causedBy, event, grant, partOf }, ordinal): NewFact => {
    const id = deriveId<FactId>("fct", atMs, causedBy ?? "access", event._tag, "access", ordinal, sequence)
    first ??= id
    return { id, event, partOf: partOf ?? first, ...(causedBy === undefined ? {} : { causedBy }), ...(grant === undefined ? {} : { grant }) }
  }) as unknown as readonly [NewFact, ...ReadonlyArray<NewFact>]
}

/** What a fact of ours that comes of another one belongs to. */
export const because = ({ id, partOf }: Pick<Fact, "id" | "partOf">): { readonly partOf: FactId; readonly causedBy: FactId } => ({ partOf, causedBy: id })
