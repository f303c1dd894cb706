import type { Commit, JournalShape, Line, Reader, StoredCommit, Trace } from "@millrace/journal"
import type { FactId } from "@millrace/schemas"
import { Clock, Context, Effect, Exit, Option, Tracer } from "effect"
import { contextOf, currentTrace, linkTo } from "./trace.ts"

/** Facts whose writer's span is remembered, to be linked to by what follows from them: so many, up to twice as many. */
const heardMax = 8_192
/** What lies in the log for longer was followed up long ago, or by another process, in ms. */
const heardMsMax = 300_000

/**
 * A journal whose commits carry a trace context, unless they carry one already. An append carries the current
 * span. What a line sends is decided by a fold over many causes, where no one span is current: each such
 * commit gets a span of its own, from sending to outcome, linked to the span that wrote its cause.
 */
export const carryTrace = (journal: JournalShape): JournalShape => {
  const heard = new Heard()
  return {
    ...journal,
    append: (commit, expect) =>
      commit.trace !== undefined
        ? journal.append(commit, expect)
        : Effect.flatMap(currentTrace, (trace) => journal.append(trace === undefined ? commit : { ...commit, trace }, expect)),
    read: (stream, options) => Effect.map(journal.read(stream, options), (reader) => remembering(reader, heard)),
    line: (stream, after) =>
      Effect.gen(function*() {
        const tracer = yield* Tracer.Tracer
        const clock = yield* Clock.Clock
        return tracing(yield* journal.line(stream, after), heard, tracer, clock)
      })
  }
}

const remembering = (reader: Reader, heard: Heard): Reader => {
  const note = (commits: ReadonlyArray<StoredCommit>) => Effect.map(Clock.currentTimeMillis, (nowMs) => {
    for (const { facts, place, trace } of commits) {
      if (trace === undefined || place.storedAtMs < nowMs - heardMsMax) continue
      for (const { id, partOf } of facts) {
        heard.set(id, trace)
        heard.set(partOf, trace)
      }
    }
  })
  return { take: Effect.tap(reader.take, note), poll: Effect.tap(reader.poll, note) }
}

/** The spans of facts, and the newest of the operation that each is part of. A whole generation makes room at once. */
class Heard {
  #young = new Map<FactId, Trace>()
  #old = new Map<FactId, Trace>()

  get(id: FactId): Trace | undefined {
    return this.#young.get(id) ?? this.#old.get(id)
  }

  set(id: FactId, trace: Trace): void {
    this.#young.set(id, trace)
    if (this.#young.size < heardMax) return
    this.#old = this.#young
    this.#young = new Map()
  }
}

const tracing = (line: Line, heard: Heard, tracer: Tracer.Tracer, clock: Clock.Clock): Line => ({
  last: line.last,
  send: (commit) => {
    if (commit.trace !== undefined) return line.send(commit)
    const span = tracer.span({
      name: `decide ${commit.facts[0].event._tag}`,
      parent: Option.none(),
      annotations: Context.empty(),
      links: [...linkTo(causeOf(commit, heard))],
      startTime: clock.currentTimeNanosUnsafe(),
      kind: "producer",
      root: true,
      sampled: true
    })
    const { outcome, sequence } = line.send({ ...commit, trace: contextOf(span) })
    return {
      sequence,
      outcome: Effect.onExit(outcome, (exit) => Effect.sync(() => span.end(clock.currentTimeNanosUnsafe(), Exit.asVoid(exit))))
    }
  }
})

const causeOf = ({ facts: [{ causedBy, partOf }] }: Commit, heard: Heard): Trace | undefined =>
  (causedBy === undefined ? undefined : heard.get(causedBy)) ?? heard.get(partOf)
