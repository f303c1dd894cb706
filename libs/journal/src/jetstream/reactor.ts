import type { Msg } from "@nats-io/transport-node"
import { Effect, Latch, Metric, Queue } from "effect"
import { decodeMessage } from "../codec.ts"
import type { StoredCommit } from "../commit.ts"
import type { JournalUnavailable, ReactOptions } from "../journal.ts"
import { type Api, askPatiently, unforeseen } from "./api.ts"
import { headerBlock, headerIn } from "./headers.ts"
import { type Delivery, Pull } from "./pull.ts"

const failures = Metric.counter("millrace_reactor_failures_total", { incremental: true })
const renewed = Metric.counter("millrace_reactor_renewed_total", { incremental: true })

export interface ReactorTuning {
  /** Whether this process may create its consumer. A host's is created by whoever admitted it. */
  readonly create: boolean
  readonly progressMs?: number
  readonly pullMs?: number
}

interface InHand {
  readonly message: Msg
  readonly delivery: Delivery
}

/** Short, because it is how long what a process had in hand when it died waits for the next one; what lives says so three times in it. */
const waitAck = 2_000
const prefetch = 64

/**
 * Hands each commit to a reactor at least once, by a durable consumer with explicit acknowledgements, which
 * lives on the server at as many replicas as its stream. What is in hand is kept alive while it is worked
 * on; what fails comes back after a pause that grows with each delivery, and the next one goes first.
 */
export const reactThrough = <E, R>(
  api: Api,
  options: ReactOptions,
  handle: (commit: StoredCommit) => Effect.Effect<void, E, R>,
  { create: mayCreate, progressMs = 3_000, pullMs = 30_000 }: ReactorTuning
): Effect.Effect<never, JournalUnavailable, R> =>
  Effect.scoped(Effect.gen(function*() {
    const { concurrency = 1, durable, stream } = options
    const ackWaitMs = options.ackWaitMs ?? waitAck
    const queue = yield* Queue.unbounded<InHand>()
    const inHand = new Set<InHand>()
    const trouble = yield* Latch.make(false)
    const outstandingMax = Math.max(prefetch, concurrency * 2)
    let pull: Pull | undefined
    let broken = "it has only just begun"

    const begin = Effect.gen(function*() {
      if (mayCreate) yield* ensure(api, options, ackWaitMs)
      broken = ""
      // What was in hand comes again by itself, unless its acknowledgement still arrives.
      pull = new Pull({ connection: api.connection, apiPrefix: api.prefix, stream, consumer: durable, outstandingMax, silenceMs: progressMs * 3, expiresMs: pullMs }, {
        message: (message, delivery) => {
          const item = { message, delivery }
          inHand.add(item)
          Queue.offerUnsafe(queue, item)
        },
        ranOut: () => pull?.want(outstandingMax - inHand.size),
        broken: (why) => {
          broken = why
          trouble.openUnsafe()
        }
      })
      pull.want(outstandingMax - inHand.size)
    })

    const work = Effect.forever(Effect.gen(function*() {
      const item = yield* Queue.take(queue)
      const settled = yield* settle(stream, item, handle, durable)
      inHand.delete(item)
      if (!api.connection.isClosed()) item.message.respond(settled)
      pull?.want(outstandingMax - inHand.size)
    }))

    const keep = Effect.forever(Effect.gen(function*() {
      yield* Effect.sleep(Math.max(10, ackWaitMs / 3))
      if (!api.connection.isClosed()) for (const { message } of inHand) message.respond("+WPI")
    }))

    const watch = Effect.forever(Effect.gen(function*() {
      yield* Effect.raceFirst(trouble.await, Effect.sleep(progressMs))
      trouble.closeUnsafe()
      pull?.want(outstandingMax - inHand.size)
      pull?.check()
      if (broken === "") return
      yield* Metric.update(renewed, 1)
      yield* Effect.logWarning(`The reactor ${durable} begins anew on ${stream}: ${broken}`)
      yield* Effect.sleep(100)
      yield* begin
    }))

    yield* Effect.addFinalizer(() => Effect.sync(() => pull?.stop()))
    yield* begin
    for (let worker = 0; worker < concurrency; worker += 1) yield* Effect.forkScoped(work)
    yield* Effect.forkScoped(keep)
    return yield* watch
  }))

/** Works on one commit and says what the server is to be told: done, or to be delivered again later. */
const settle = <E, R>(
  stream: string,
  { delivery, message }: InHand,
  handle: (commit: StoredCommit) => Effect.Effect<void, E, R>,
  durable: string
): Effect.Effect<string, never, R> => {
  const commit = decodeMessage({
    stream,
    sequence: delivery.sequence,
    subject: message.subject,
    storedAtMs: delivery.storedAtMs,
    header: headerIn(headerBlock(message)),
    body: message.data
  })
  return handle(commit).pipe(
    Effect.as("+ACK"),
    Effect.catchCause((cause) => {
      const delayMs = Math.min(60_000, 100 * 2 ** Math.min(delivery.times - 1, 10))
      return Effect.logWarning(`${durable} failed at ${stream} ${delivery.sequence}, for the ${delivery.times}. time; it comes again in ${delayMs} ms`, cause).pipe(
        Effect.andThen(Metric.update(failures, 1)),
        Effect.as(`-NAK {"delay":${delayMs * 1e6}}`)
      )
    })
  )
}

const ensure = (api: Api, options: ReactOptions, ackWaitMs: number): Effect.Effect<void, JournalUnavailable> => {
  const { durable, sinceMs, stream } = options
  if (sinceMs === undefined) return create(api, options, ackWaitMs)
  // Where a consumer began cannot be changed: one that is there goes on where it stands.
  const doing = `looking for the consumer ${durable} of ${stream}`
  return askPatiently(api, doing, `CONSUMER.INFO.${stream}.${durable}`).pipe(
    Effect.asVoid,
    Effect.catch((error) => error._tag === "ApiError" && error.errCode === consumerNotFound
      ? create(api, options, ackWaitMs)
      : Effect.fail(unforeseen(doing)(error)))
  )
}

const create = (api: Api, { durable, filter, sinceMs, stream }: ReactOptions, ackWaitMs: number): Effect.Effect<void, JournalUnavailable> => {
  const doing = `creating the consumer ${durable} of ${stream}`
  return askPatiently(api, doing, `CONSUMER.CREATE.${stream}.${durable}${filter === undefined ? "" : `.${filter}`}`, {
    stream_name: stream,
    config: {
      name: durable,
      durable_name: durable,
      ack_policy: "explicit",
      ack_wait: ackWaitMs * 1e6,
      ...(sinceMs === undefined ? { deliver_policy: "all" } : { deliver_policy: "by_start_time", opt_start_time: new Date(sinceMs).toISOString() }),
      replay_policy: "instant",
      max_deliver: -1,
      max_ack_pending: 1_000,
      ...(filter === undefined ? {} : { filter_subject: filter })
    }
  }).pipe(Effect.mapError(unforeseen(doing)), Effect.asVoid)
}

const consumerNotFound = 10014

/** Deletes a durable consumer, if there is one. */
export const forgetConsumer = (api: Api, stream: string, durable: string): Effect.Effect<void, JournalUnavailable> => {
  const doing = `deleting the consumer ${durable} of ${stream}`
  return askPatiently(api, doing, `CONSUMER.DELETE.${stream}.${durable}`, {}).pipe(
    Effect.catch((error) => error._tag === "ApiError" && error.errCode === consumerNotFound ? Effect.void : Effect.fail(unforeseen(doing)(error))),
    Effect.asVoid
  )
}
