import type { Commit, JournalShape, Line, Reader, StoredCommit, Trace } from "@millrace/journal"
import type { FactId } from "@millrace/schemas"
import { Clock, Context, Effect, Exit, Option, Tracer } from "effect"
import { contextOf, currentTrace, linkTo } from "./trace.ts"

/** Facts whose writer's span is remembered, to be linked to by what follows from them. */
const HEARD_MAX = 8_192

/**
 * A journal whose commits carry a trace context, unless they carry one already. An append carries the current
 * span. What a line sends is decided by a fold over many causes, where no one span is current: each such
 * commit gets a span of its own, from sending to outcome, linked to the span that wrote its cause.
 */
export const carryTrace = (journal: JournalShape): JournalShape => {
  const heard = new Map<FactId, Trace>()
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

const remembering = (reader: Reader, heard: Map<FactId, Trace>): Reader => {
  const note = (commits: ReadonlyArray<StoredCommit>) => Effect.sync(() => {
    for (const { facts, trace } of commits) {
      if (trace !== undefined) for (const { id, partOf } of facts) remember(heard, trace, id, partOf)
    }
  })
  return { take: Effect.tap(reader.take, note), poll: Effect.tap(reader.poll, note) }
}

/** A fact itself, and the newest of the operation that it is part of. The oldest make room. */
const remember = (heard: Map<FactId, Trace>, trace: Trace, ...ids: ReadonlyArray<FactId>) => {
  for (const id of ids) {
    heard.delete(id)
    heard.set(id, trace)
  }
  for (const oldest of heard.keys()) {
    if (heard.size <= HEARD_MAX) return
    heard.delete(oldest)
  }
}

const tracing = (line: Line, heard: ReadonlyMap<FactId, Trace>, tracer: Tracer.Tracer, clock: Clock.Clock): Line => ({
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

const causeOf = ({ facts: [{ causedBy, partOf }] }: Commit, heard: ReadonlyMap<FactId, Trace>): Trace | undefined =>
  (causedBy === undefined ? undefined : heard.get(causedBy)) ?? heard.get(partOf)
