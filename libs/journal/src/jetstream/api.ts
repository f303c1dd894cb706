import { errors, type NatsConnection } from "@nats-io/transport-node"
import { Clock, Effect, Random } from "effect"
import type { StoredMessage } from "../codec.ts"
import { JournalUnavailable } from "../journal.ts"
import { reasonOf } from "./connect.ts"
import { headerBlock, headerIn, statusIn } from "./headers.ts"

/** What JetStream's API answers instead of what was asked for. */
export interface ApiError {
  readonly _tag: "ApiError"
  readonly code: number
  readonly errCode: number
  readonly description: string
}

/** Nobody answered: no leader now, a lost connection, a time-out. Asking again may help. */
export interface Silence {
  readonly _tag: "Silence"
  readonly detail: string
}

/** Requests to JetStream, by hand: hosts reach it under another prefix and may not ask for its INFO. */
export interface Api {
  readonly connection: NatsConnection
  readonly prefix: string
  /** How long a question is asked again before it counts as unanswered, in ms. */
  readonly patienceMs: number
}

interface Answered {
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string }
}

/** Asks once. */
export const ask = <Answer>({ connection, prefix }: Api, operation: string, body?: unknown, timeoutMs = 2_000): Effect.Effect<Answer, ApiError | Silence> =>
  Effect.tryPromise({
    try: () => connection.request(`${prefix}.${operation}`, body === undefined ? "" : JSON.stringify(body), { timeout: timeoutMs }),
    catch: silence
  }).pipe(Effect.flatMap((message) => {
    const answer = message.json<Answered>()
    return answer.error === undefined ? Effect.succeed(answer as Answer) : Effect.fail(apiError(answer.error))
  }))

const silence = (cause: unknown): ApiError | Silence =>
  cause instanceof errors.PermissionViolationError
    ? { _tag: "ApiError", code: 403, errCode: 0, description: cause.message }
    : { _tag: "Silence", detail: reasonOf(cause) }

const apiError = ({ code = 500, description = "no reason given", err_code = 0 }: NonNullable<Answered["error"]>): ApiError => ({
  _tag: "ApiError",
  code,
  errCode: err_code,
  description
})

/** Whether an answer says "not now" rather than "no": a cluster without a leader answers with 5xx. */
export const isPassing = (error: ApiError | Silence): boolean => error._tag === "Silence" || error.code >= 500 || error.code === 429

/** Asks until there is an answer that stays, or patience ends. */
export const askPatiently = <Answer>(api: Api, doing: string, operation: string, body?: unknown): Effect.Effect<Answer, ApiError | JournalUnavailable> =>
  patiently(api, doing, ask<Answer>(api, operation, body))

/** Repeats what passes, with growing pauses, until `patienceMs` is over. */
export const patiently = Effect.fnUntraced(function*<A>(
  { patienceMs }: Api,
  doing: string,
  once: Effect.Effect<A, ApiError | Silence>
): Effect.fn.Return<A, ApiError | JournalUnavailable> {
  const untilMs = (yield* Clock.currentTimeMillis) + patienceMs
  for (let attempt = 0; ; attempt += 1) {
    const result = yield* Effect.result(once)
    if (result._tag === "Success") return result.success
    const error = result.failure
    if (error._tag === "ApiError" && !isPassing(error)) return yield* Effect.fail(error)
    if ((yield* Clock.currentTimeMillis) >= untilMs) {
      return yield* new JournalUnavailable({ doing, detail: error._tag === "Silence" ? error.detail : error.description })
    }
    yield* pause(attempt)
  }
})

/** Waits longer from attempt to attempt, to at most a second, and never in step with others. */
export const pause = (attempt: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (random) => Effect.sleep(Math.min(1_000, 20 * 2 ** Math.min(attempt, 6)) * (0.5 + random)))

/** An answer that stays and that nobody foresaw, as the unavailability it amounts to. */
export const unforeseen = (doing: string) => (error: ApiError | JournalUnavailable): JournalUnavailable =>
  error._tag === "ApiError" ? new JournalUnavailable({ doing, detail: `${error.description} (${error.errCode || error.code})` }) : error

interface GotMessage {
  readonly message: { readonly subject: string; readonly seq: number; readonly hdrs?: string; readonly data?: string; readonly time: string }
}

const noMessageFound = 10037

/** A message looked up through the stream's leader, or none: an answer that has missed no append. */
export const messageOf = (
  api: Api,
  stream: string,
  which: { readonly seq: number } | { readonly last_by_subj: string } | { readonly seq: number; readonly next_by_subj: string }
): Effect.Effect<StoredMessage | undefined, JournalUnavailable> => {
  const doing = `reading ${stream} ${JSON.stringify(which)}`
  return askPatiently<GotMessage>(api, doing, `STREAM.MSG.GET.${stream}`, which).pipe(
    Effect.map(({ message }): StoredMessage | undefined => ({
      stream,
      sequence: message.seq,
      subject: message.subject,
      storedAtMs: Date.parse(message.time),
      header: headerIn(Buffer.from(message.hdrs ?? "", "base64").toString("utf8")),
      body: Buffer.from(message.data ?? "", "base64")
    })),
    Effect.catch((error) =>
      error._tag === "ApiError" && error.errCode === noMessageFound ? Effect.succeed(undefined) : Effect.fail(unforeseen(doing)(error)))
  )
}

/**
 * The newest message on a subject, from any replica: the only look-up a host may make, and perhaps stale.
 * Who needs a certain sequence asks again until it is there.
 */
export const lastOnDirectly = (api: Api, stream: string, subject: string): Effect.Effect<StoredMessage | undefined, JournalUnavailable> => {
  const doing = `reading the last word on ${subject}`
  const once = Effect.tryPromise({
    try: () => api.connection.request(`${api.prefix}.DIRECT.GET.${stream}.${subject}`, "", { timeout: 2_000 }),
    catch: silence
  }).pipe(Effect.flatMap((message): Effect.Effect<StoredMessage | undefined, ApiError | Silence> => {
    const block = headerBlock(message)
    const status = statusIn(block)
    if (status === 404) return Effect.succeed(undefined)
    if (status !== 0) return Effect.fail({ _tag: "ApiError", code: status, errCode: 0, description: block.slice(9, block.indexOf("\r\n")) })
    const header = headerIn(block)
    return Effect.succeed({
      stream,
      sequence: Number(header("Nats-Sequence")),
      subject: header("Nats-Subject"),
      storedAtMs: Date.parse(header("Nats-Time-Stamp")),
      header,
      body: message.data
    })
  }))
  return Effect.mapError(patiently(api, doing, once), unforeseen(doing))
}

/** What STREAM.INFO tells, as far as anybody here asks. */
export interface StreamInfo {
  readonly config: Readonly<Record<string, unknown>> & { readonly name: string; readonly metadata?: Readonly<Record<string, string>> }
  readonly state: { readonly messages: number; readonly bytes: number; readonly first_seq: number; readonly last_seq: number }
}

/** How a stream is set up and how far it has come, from its leader. */
export const infoOf = (api: Api, stream: string): Effect.Effect<StreamInfo, ApiError | JournalUnavailable> =>
  askPatiently<StreamInfo>(api, `asking how far ${stream} has come`, `STREAM.INFO.${stream}`)

/** The last sequence of a stream, from its leader. */
export const headOf = (api: Api, stream: string): Effect.Effect<number, JournalUnavailable> =>
  Effect.mapBoth(infoOf(api, stream), {
    onSuccess: ({ state }) => state.last_seq,
    onFailure: unforeseen(`asking how far ${stream} has come`)
  })
