import type { Trace } from "@millrace/journal"
import { type Subject, subjectText } from "@millrace/schemas"
import { Context, Effect, Option, Tracer } from "effect"

/**
 * Traces that follow a job across services. A reaction is no part of the request that caused it: it may come
 * later, more than once, or for many causes at once. So each begins a trace of its own and *links* to the
 * span that wrote the fact (https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans), whose
 * context travels beside the commit (https://www.w3.org/TR/trace-context/).
 */

/** The part of a commit that tracing reads. A stored commit and a new one both have it. */
export interface Written {
  /** A subject, or its text. */
  readonly subject: Subject | string
  readonly trace?: Trace
}

const Tracestate = Context.Reference<string | undefined>("millrace/Tracestate", { defaultValue: () => undefined })

const FORM = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/u
const ABSENT = /^0+$/u

/** The span that a trace context names, or nothing where it is malformed: a trace is never worth an error. */
export const spanOf = ({ traceparent, tracestate }: Trace): Tracer.ExternalSpan | undefined => {
  const [, traceId, spanId, flags] = FORM.exec(traceparent) ?? []
  if (traceId === undefined || spanId === undefined || ABSENT.test(traceId) || ABSENT.test(spanId)) return undefined
  return Tracer.externalSpan({
    traceId,
    spanId,
    sampled: (Number.parseInt(flags ?? "00", 16) & 1) === 1,
    ...(tracestate === undefined ? {} : { annotations: Context.make(Tracestate, tracestate) })
  })
}

/** The links to the span that wrote something; none where it carries no trace. */
export const linkTo = (trace: Trace | undefined): ReadonlyArray<Tracer.SpanLink> => {
  const span = trace === undefined ? undefined : spanOf(trace)
  return span === undefined ? [] : [{ span, attributes: {} }]
}

/** The trace context that a commit was written in. */
export const traceOf = (commit: Written): Trace | undefined => commit.trace

/** A span as a W3C trace context. */
export const contextOf = (span: Tracer.AnySpan): Trace => {
  const traceparent = `00-${span.traceId.padStart(32, "0")}-${span.spanId}-${span.sampled ? "01" : "00"}`
  const tracestate = tracestateOf(span)
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
}

/** The current span as a W3C trace context, to travel beside a commit. Nothing outside of a span. */
export const currentTrace: Effect.Effect<Trace | undefined> = Effect.map(
  Effect.serviceOption(Tracer.ParentSpan),
  (span) => (Option.isNone(span) ? undefined : contextOf(span.value))
)

/** What the first span of a trace was given by its vendor travels on unchanged, as the protocol asks. */
const tracestateOf = (span: Tracer.AnySpan): string | undefined => {
  let at = span
  for (let depth = 0; depth < 64 && at._tag === "Span" && Option.isSome(at.parent); depth++) at = at.parent.value
  return at._tag === "ExternalSpan" ? Context.get(at.annotations, Tracestate) : undefined
}

/**
 * Runs the reaction to a commit in a new trace that links to the span that wrote it. Its log lines name the
 * story; what it commits carries the new span, if the journal is one of `carryTrace`.
 */
export const traced = <A, E, R>(
  name: string,
  commit: Written,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Tracer.ParentSpan>> =>
  effect.pipe(
    Effect.annotateLogs({ story: storyOf(commit) }),
    Effect.withSpan(name, {
      root: true,
      kind: "consumer",
      links: linkTo(traceOf(commit)),
      attributes: { "messaging.destination.name": storyOf(commit) }
    }, { captureStackTrace: false })
  )

const storyOf = ({ subject }: Written): string => (typeof subject === "string" ? subject : subjectText(subject))

/** Runs an effect in the trace of a request from outside: its span is a child of the caller's. */
export const within = <A, E, R>(trace: Trace | undefined, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const span = trace === undefined ? undefined : spanOf(trace)
  return span === undefined ? effect : Effect.provideService(effect, Tracer.ParentSpan, span)
}
