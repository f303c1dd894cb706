import { crashPoint } from "@millrace/journal"
import { hostCredentials, newSeed, signingKey } from "@millrace/journal/admission"
import type { NatsConfig } from "@millrace/journal/jetstream"
import { Count, EpochMillis, HostId } from "@millrace/schemas"
import { dialText, hostTokenText } from "@millrace/wire"
import { Clock, Effect, Redacted, Schedule, Schema, type Scope } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { mkdir, readFile, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"

/** The cell does not admit this machine. Asking again will not help. */
export class NotAdmitted extends Schema.TaggedError<NotAdmitted>()("NotAdmitted", { where: Schema.String, detail: Schema.String }) {
  override get message() {
    return `${this.where} does not admit this machine: ${this.detail}`
  }
}

/** The cell did not answer. Asking again may help. */
export class AccessSilent extends Schema.TaggedError<AccessSilent>()("AccessSilent", { where: Schema.String, detail: Schema.String }) {
  override get message() {
    return `${this.where} does not answer: ${this.detail}. Check MILLRACE_ACCESS_URL and that access runs`
  }
}

const Credentials = Schema.Struct({
  hostId: HostId,
  jwt: Schema.String,
  expiresAtMs: EpochMillis,
  inboxPrefix: Schema.String,
  apiPrefix: Schema.String,
  epoch: Count
})
type Credentials = typeof Credentials.Type

const decodeCredentials = Schema.decodeUnknownEffect(Credentials)
const decodeSaved = Schema.decodeUnknownOption(Schema.fromJsonString(Credentials))

export interface EnrolmentOptions {
  /** Where hosts enrol. */
  readonly accessUrl: string
  /** Where the host keeps its seed and its credentials; nobody else may read it. */
  readonly folder: string
  /** A file with the key that admits this machine the first time. */
  readonly oneTimeKeyFile: string | undefined
  readonly servers: string
}

/** Who this machine is in the cell, and how it speaks there. */
export interface Enrolled {
  readonly hostId: HostId
  readonly epoch: number
  readonly apiPrefix: string
  readonly nats: NatsConfig
  /** Says to the cell's relay who this is. Made anew for each dial. */
  readonly relayToken: Effect.Effect<Redacted.Redacted>
}

/** How long access may be silent, in ms: a machine that starts with its cell is often there first. */
const patienceMs = 60_000

/** Credentials with less left than this are renewed before they are used, in ms. */
const leftMsMin = 60_000

/**
 * Makes this machine a host of the cell, for as long as the scope lives: the first time with a one-time
 * key, afterwards with its own. Credentials are renewed when a third of what is left of them is over; a
 * connection that outlives them comes back with the newer ones by itself.
 */
export const enrol = (options: EnrolmentOptions): Effect.Effect<Enrolled, NotAdmitted | AccessSilent, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Effect.promise(() => mkdir(options.folder, { recursive: true, mode: 0o700 }))
    const seed = yield* seedIn(join(options.folder, "host.seed"))
    const key = signingKey(seed)
    const renew = Effect.gen(function*() {
      const atMs = yield* Clock.currentTimeMillis
      const signature = key.sign(`millrace renew ${key.publicKey} ${atMs}`).toString("base64url")
      return yield* ask(options, "renew", { publicKey: key.publicKey, atMs, signature })
    })
    const saved = yield* savedIn(options.folder)
    if (saved === undefined) yield* crashPoint("enrol before")
    const nowMs = yield* Clock.currentTimeMillis
    let current: Credentials = saved === undefined
      ? yield* first(options, key.publicKey)
      : saved.expiresAtMs - nowMs > leftMsMin
      ? saved
      : yield* renew
    if (saved === undefined) yield* crashPoint("enrol answered")
    yield* save(options.folder, current)
    if (saved === undefined) yield* crashPoint("enrol kept")
    const renewing = Effect.gen(function*() {
      const leftMs = current.expiresAtMs - (yield* Clock.currentTimeMillis)
      yield* Effect.sleep(Math.max(1_000, leftMs / 3))
      current = yield* renew
      yield* save(options.folder, current)
    })
    yield* Effect.forkScoped(renewing.pipe(
      Effect.tapError((error) => Effect.logWarning(`Credentials could not be renewed: ${error.message}`)),
      Effect.retry(Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("30 seconds")])),
      Effect.forever
    ))
    return {
      hostId: current.hostId,
      epoch: current.epoch,
      apiPrefix: current.apiPrefix,
      relayToken: Effect.map(Clock.currentTimeMillis, (atMs) =>
        Redacted.make(hostTokenText({ publicKey: key.publicKey, atMs, signature: key.sign(dialText(key.publicKey, atMs)) }))),
      nats: {
        servers: options.servers.split(","),
        name: current.hostId,
        ...hostCredentials(seed, () => current.jwt)
      }
    }
  }).pipe(Effect.provide(FetchHttpClient.layer))

const first = Effect.fnUntraced(function*(options: EnrolmentOptions, publicKey: string) {
  if (options.oneTimeKeyFile === undefined) {
    return yield* new NotAdmitted({ where: options.accessUrl, detail: "it was never admitted, and MILLRACE_ONE_TIME_KEY names no file with a one-time key" })
  }
  const path = options.oneTimeKeyFile
  const oneTimeKey = yield* Effect.tryPromise({
    try: () => readFile(path, "utf8"),
    catch: (cause) => new NotAdmitted({ where: path, detail: String(cause) })
  })
  return yield* ask(options, "enrol", { oneTimeKey: oneTimeKey.trim(), publicKey })
})

const ask = (options: EnrolmentOptions, what: "enrol" | "renew", body: unknown): Effect.Effect<Credentials, NotAdmitted | AccessSilent, HttpClient.HttpClient> => {
  const where = `${options.accessUrl}/v1/hosts/${what}`
  return Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* client.execute(HttpClientRequest.post(where).pipe(HttpClientRequest.bodyJsonUnsafe(body)))
    const answer = yield* response.json
    if (response.status === 403 || response.status === 400) return yield* new NotAdmitted({ where, detail: JSON.stringify(answer) })
    if (response.status !== 200) return yield* new AccessSilent({ where, detail: `status ${response.status}` })
    return yield* decodeCredentials(answer)
  }).pipe(
    Effect.timeout("20 seconds"),
    Effect.mapError((error) => error instanceof NotAdmitted || error instanceof AccessSilent ? error : new AccessSilent({ where, detail: String(error) })),
    Effect.retry({ while: (error) => error._tag === "AccessSilent", schedule: Schedule.spaced("500 millis").pipe(Schedule.upTo({ duration: patienceMs })) })
  )
}

/** The host's own key, made once. It is the host: whoever holds it speaks as it. */
const seedIn = (path: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const kept = await readFile(path, "utf8").catch(() => undefined)
    if (kept !== undefined) return kept.trim()
    const seed = newSeed("user")
    // Whole or not at all, over a power cut too: half a key would be no key, and yet there, and no one-time key admits twice.
    await writeFile(`${path}.next`, `${seed}\n`, { mode: 0o600, flush: true })
    await rename(`${path}.next`, path)
    return seed
  })

const savedIn = (folder: string): Effect.Effect<Credentials | undefined> =>
  Effect.promise(async () => {
    const text = await readFile(join(folder, "host.json"), "utf8").catch(() => "")
    const found = decodeSaved(text)
    return found._tag === "Some" ? found.value : undefined
  })

const save = (folder: string, credentials: Credentials): Effect.Effect<void> =>
  Effect.promise(async () => {
    const path = join(folder, "host.json")
    await writeFile(`${path}.next`, JSON.stringify(credentials), { mode: 0o600, flush: true })
    await rename(`${path}.next`, path)
  })
