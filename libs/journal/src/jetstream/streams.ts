import { type Kind, kinds, type StreamName, streamNames, subjectsOf } from "@millrace/schemas"
import { Effect, Metric } from "effect"
import type { JournalUnavailable } from "../journal.ts"
import { type Api, type ApiError, ask, infoOf, patiently, type Silence, type StreamInfo, unforeseen } from "./api.ts"
import { LogUnfit } from "./connect.ts"
import { headerBytes } from "./headers.ts"
import type { Publisher } from "./publisher.ts"

/** What may differ from one installation to another. */
export interface StreamSizes {
  /** 1 on one machine, 3 in production. */
  readonly replicas?: 1 | 3 | 5
  /** Bytes that a stream may hold; appends beyond it are refused, nothing is forgotten. Unlimited unless said. */
  readonly bytesMax?: number
  /** Raised by whoever restores a backup. */
  readonly epoch?: number
}

/** The stream that hosts write. Whatever a header could switch on there, a host could switch on. */
const writtenByHosts: StreamName = "HOSTS"

/** Whether a stream takes atomic batches: where services alone write. */
export const takesBatches = (stream: StreamName): boolean => stream !== writtenByHosts

/** Each host has a consumer of its own. Unless a stream says a number, nats-server 2.15.1 allows it 1,000. */
const consumersMax = 100_000

/**
 * A stream's configuration, written from the schemas. Nothing is ever forgotten or overwritten by it, and
 * nothing that a publisher's header could do behind the permissions is allowed: with `Nats-Rollup` a host
 * wiped a shared stream, with `Nats-Schedule` it forged another's fact. Atomic batches, which open a line
 * and sync many appends at once, are allowed only where services write.
 */
export const streamConfig = (stream: StreamName, { bytesMax = -1, epoch = 1, replicas = 1 }: StreamSizes = {}): Record<string, unknown> => ({
  name: stream,
  subjects: [...subjectsOf(kinds, stream)],
  storage: "file",
  retention: "limits",
  discard: "new",
  num_replicas: replicas,
  max_bytes: bytesMax,
  max_msgs: -1,
  max_msgs_per_subject: -1,
  max_age: 0,
  max_consumers: consumersMax,
  max_msg_size: -1,
  duplicate_window: 1e9,
  allow_direct: true,
  deny_delete: true,
  deny_purge: true,
  allow_rollup_hdrs: false,
  allow_atomic: takesBatches(stream),
  metadata: { [epochKey]: String(epoch) }
})

const epochKey = "millrace-epoch"

/** What a stream must be, whoever set it up, with the reason why it matters. */
const demanded: ReadonlyArray<readonly [field: string, wanted: unknown, because: string]> = [
  ["storage", "file", "memory forgets"],
  ["max_consumers", consumersMax, "each host has one, and the server's own limit is 1,000"],
  ["retention", "limits", "facts stay when they have been read"],
  ["discard", "new", "a full log refuses; it does not forget"],
  ["max_age", 0, "facts do not expire"],
  ["max_msgs", -1, "facts do not make room for others"],
  ["max_msgs_per_subject", -1, "a story keeps all its facts"],
  ["deny_delete", true, "no fact is ever changed"],
  ["deny_purge", true, "no fact is ever changed"],
  ["allow_direct", true, "hosts look up their last word"],
  ["allow_rollup_hdrs", false, "one header would wipe the stream"],
  ["allow_msg_ttl", false, "one header would let a fact expire"],
  ["allow_msg_schedules", false, "one header would forge another's fact"],
  ["allow_msg_counter", false, "facts are not sums"],
  ["allow_batched", false, "an open batch holds up others"],
  ["persist_mode", undefined, "an acknowledged fact is on disk"],
  ["no_ack", false, "an append must know what became of it"],
  ["sealed", false, "somebody must be able to write"],
  ["mirror", undefined, "it is written, not copied"],
  ["sources", undefined, "only its own service writes it"],
  ["subject_transform", undefined, "a subject says who wrote it"]
]

/**
 * Creates the streams that are missing, and lets older ones take the subjects that the vocabulary has gained
 * since; it changes nothing else about them. A young cluster may need a minute.
 */
export const provisionStreams = (api: Api, sizes: StreamSizes = {}, streams: ReadonlyArray<StreamName> = streamNames): Effect.Effect<void, JournalUnavailable> =>
  Effect.forEach(streams, (stream) => provision(api, stream, sizes), { concurrency: 4, discard: true })

const streamNotFound = 10059
const nameInUse = 10058

const provision = (api: Api, stream: StreamName, sizes: StreamSizes): Effect.Effect<void, JournalUnavailable> => {
  const doing = `creating the stream ${stream}`
  const create = ask(api, `STREAM.CREATE.${stream}`, streamConfig(stream, sizes), 5_000).pipe(
    Effect.catch((error): Effect.Effect<unknown, ApiError | Silence> => {
      if (error._tag === "ApiError" && error.errCode === nameInUse) return Effect.void
      // `no suitable peers for placement` comes for a while after a cluster has started.
      return Effect.fail(error._tag === "ApiError" && /peers|resources|leader/u.test(error.description) ? { _tag: "Silence", detail: error.description } : error)
    })
  )
  const grow = ({ config }: StreamInfo) => {
    const held = subjectsIn(config)
    const gained = subjectsOf(kinds, stream).filter((subject) => !held.includes(subject))
    return gained.length === 0 ? Effect.void : Effect.asVoid(Effect.mapError(
      patiently(api, `adding ${gained.join(", ")} to the stream ${stream}`, ask(api, `STREAM.UPDATE.${stream}`, { ...config, subjects: [...held, ...gained] }, 5_000)),
      unforeseen(doing)
    ))
  }
  return Effect.catch(Effect.flatMap(infoOf(api, stream), grow), (error) =>
    error._tag === "JournalUnavailable" ? Effect.fail(error) : error._tag === "ApiError" && error.errCode === streamNotFound
      ? Effect.asVoid(Effect.mapError(patiently(api, doing, create), unforeseen(doing)))
      : Effect.fail(unforeseen(doing)(error)))
}

/** Compares the streams with the schemas and refuses drift in a sentence. Gives what it found. */
export const checkStreams = (api: Api, streams: ReadonlyArray<StreamName> = streamNames): Effect.Effect<ReadonlyArray<StreamInfo>, JournalUnavailable | LogUnfit> =>
  Effect.forEach(streams, (stream) =>
    infoOf(api, stream).pipe(
      Effect.catch((error): Effect.Effect<never, JournalUnavailable | LogUnfit> =>
        error._tag === "ApiError" && error.errCode === streamNotFound
          ? Effect.fail(new LogUnfit({ where: `the stream ${stream}`, found: "missing", wanted: "the one written from the schemas", remedy: "run the provisioning step (npm start does it)" }))
          : Effect.fail(unforeseen(`checking the stream ${stream}`)(error))),
      Effect.tap((info) => {
        const drift = driftOf(stream, info.config)
        return drift === undefined ? Effect.void : Effect.fail(drift)
      })
    ), { concurrency: 4 })

/** The first way in which a stream is not what the schemas say. */
export const driftOf = (stream: StreamName, found: StreamInfo["config"]): LogUnfit | undefined => {
  const unfit = (field: string, is: unknown, wanted: unknown, because: string, remedy = `look who changed it, then set it back: nats stream edit ${stream}`) =>
    new LogUnfit({
      where: `the field ${field} of the stream ${stream}`,
      found: JSON.stringify(is) ?? "not set",
      wanted: `${JSON.stringify(wanted) ?? "nothing there"} (${because})`,
      remedy
    })
  const subjects = subjectsOf(kinds as ReadonlyArray<Kind>, stream)
  const held = subjectsIn(found)
  // A newer vocabulary may have more: an older service goes on beside it, and reads what it knows.
  const whole = held.every((subject) => wholeKind.test(subject))
  if (!subjects.every((subject) => held.includes(subject)) || !whole) {
    return unfit("subjects", [...held].sort(), [...subjects].sort(), "they are written from the schemas", whole ? "let this release's provisioning add what an older one did not have (npm start does it)" : undefined)
  }
  for (const [field, wanted, because] of demanded) {
    const is = found[field] ?? (wanted === false ? false : undefined)
    if (is !== wanted && !(wanted === undefined && isDefault(is))) return unfit(field, is, wanted, because)
  }
  const atomic = stream !== writtenByHosts
  if ((found["allow_atomic"] ?? false) !== atomic) {
    return unfit("allow_atomic", found["allow_atomic"] ?? false, atomic, atomic ? "a line opens with a fence" : "open batches are limited, and a host could take them all")
  }
  return undefined
}

const subjectsIn = (config: StreamInfo["config"]): ReadonlyArray<string> => (config["subjects"] as ReadonlyArray<string> | undefined) ?? []

/** The filter of one kind of story, known here or not. */
const wholeKind = /^mill\.[a-z][a-z-]*\.(\*|[a-z][a-z-]*)(\.\*)?$/u

const isDefault = (value: unknown): boolean => value === "" || value === "default" || (Array.isArray(value) && value.length === 0)

/** The epoch that all streams agree on. */
export const epochOf = (infos: ReadonlyArray<StreamInfo>): Effect.Effect<number, LogUnfit> => {
  const epochs = new Map(infos.map(({ config }) => [config.name, Number(config.metadata?.[epochKey] ?? 0)]))
  const [first = 1] = epochs.values()
  const odd = [...epochs].find(([, epoch]) => epoch !== first || !Number.isSafeInteger(epoch) || epoch < 1)
  return odd === undefined
    ? Effect.succeed(first)
    : Effect.fail(new LogUnfit({
      where: `the epoch of the stream ${odd[0]}`,
      found: String(odd[1]),
      wanted: `the one that all streams carry (${[...epochs].map(([name, epoch]) => `${name} ${epoch}`).join(", ")})`,
      remedy: `raise the metadata ${epochKey} of all streams to one number higher than any of these`
    }))
}

/**
 * Asks the server whether this user may write a stream, without writing: a message that demands another
 * stream than the one it reaches is refused after the permissions have been checked.
 */
export const mayWrite = Effect.fnUntraced(function*(publisher: Publisher, stream: StreamName) {
  const headers = headerBytes({ headers: [], body: nothing }, "Nats-Expected-Stream: none\r\n")
  for (const filter of subjectsOf(kinds as ReadonlyArray<Kind>, stream)) {
    const subject = filter.replaceAll("*", "probe")
    const answer = yield* Effect.callback<{ readonly _tag: string; readonly detail?: string; readonly reason?: string }>((resume) =>
      publisher.send(subject, headers, nothing, (given) => resume(Effect.succeed(given))))
    if (answer._tag === "Refused" && answer.reason === "not_permitted") {
      return yield* new LogUnfit({
        where: `the permission to publish on ${filter}`,
        found: "missing",
        wanted: `that of the service that writes ${stream}`,
        remedy: "check MILLRACE_NATS_CREDS, or write the permissions anew from the schemas (npm start does it)"
      })
    }
  }
})

const nothing = new Uint8Array(0)

const fullness = Metric.gauge("millrace_stream_fullness")

/** How full each stream is, from 0 to 1 of its bytes, as a metric; above 0.7 it is an alarm. Unlimited is 0. */
export const watchFullness = (api: Api, streams: ReadonlyArray<StreamName> = streamNames): Effect.Effect<ReadonlyMap<StreamName, number>, JournalUnavailable> =>
  Effect.map(
    Effect.forEach(streams, (stream) =>
      infoOf(api, stream).pipe(
        Effect.mapError(unforeseen(`asking how full ${stream} is`)),
        Effect.map(({ config, state }) => {
          const bytesMax = Number(config["max_bytes"] ?? -1)
          return bytesMax > 0 ? state.bytes / bytesMax : 0
        }),
        Effect.tap((share) => Metric.update(Metric.withAttributes(fullness, { stream }), share)),
        Effect.tap((share) =>
          share > 0.7
            ? Effect.logError(`The stream ${stream} is ${Math.round(share * 100)} % full: at 100 % every append to it is refused. Give it more room, or archive its closed segments`)
            : Effect.void),
        Effect.map((share) => [stream, share] as const)
      )),
    (shares) => new Map(shares)
  )
