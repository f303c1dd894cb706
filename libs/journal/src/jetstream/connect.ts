import { type Authenticator, connect, credsAuthenticator, errors, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node"
import { Effect, Schedule, Schema, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { readFile } from "node:fs/promises"
import { inboxPrefixIn, jwtInCreds } from "../admission/jwt.ts"
import { JournalUnavailable } from "../journal.ts"

/** The oldest nats-server that keeps compare-and-append at three replicas, and acknowledges only what is synced. */
export const serverVersionMin = "2.12.3"

/** The log at hand is not one that facts may be entrusted to. Nothing was read or written. */
export class LogUnfit extends Schema.TaggedError<LogUnfit>()("LogUnfit", {
  where: Schema.String,
  found: Schema.String,
  wanted: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `${this.where} is ${this.found}, and ${this.wanted} is needed. To mend it, ${this.remedy}`
  }
}

/** How a process reaches the log. */
export interface NatsConfig {
  readonly servers: string | ReadonlyArray<string>
  /** Seen in the server's connection list. */
  readonly name: string
  /** A file of user JWT and seed, as the provisioning writes it. Read once, at start. */
  readonly credentialsFile?: string
  readonly authenticator?: Authenticator
  readonly tls?: NonNullable<NodeConnectionOptions["tls"]>
  /**
   * What this user's answers may be addressed to; the permission to subscribe to `<inboxPrefix>.>` goes
   * with it. Behind it stands a long random token of each connection, because whoever knows an inbox may
   * put words into it.
   */
  readonly inboxPrefix?: string
  /** How long the first connection may take, in ms. Afterwards reconnecting never ends. */
  readonly patienceMs?: number
}

/**
 * A connection that outlives restarts of its server, closed with its scope. Refuses a server older than
 * `serverVersionMin`: nats-server 2.9.10 accepted 473 of 24,625 appends on a stale sequence at three
 * replicas without any fault, and 2.12.3 is the first with the fixes that Jepsen's report asked for
 * (https://jepsen.io/analyses/nats-2.12.1).
 */
export const connectNats = Effect.fnUntraced(function*(config: NatsConfig): Effect.fn.Return<NatsConnection, JournalUnavailable | LogUnfit, Scope.Scope> {
  const options = yield* optionsOf(config)
  const connection = yield* Effect.acquireRelease(
    Effect.tryPromise({ try: () => connect(options), catch: (cause) => refusal(config, cause) }).pipe(
      Effect.retry({
        schedule: Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: config.patienceMs ?? 15_000 })),
        while: (error) => error._tag === "JournalUnavailable"
      })
    ),
    (opened) => Effect.promise(() => opened.close().catch(() => undefined))
  )
  const version = connection.info?.version ?? "0.0.0"
  if (isOlder(version, serverVersionMin)) {
    return yield* new LogUnfit({
      where: "nats-server",
      found: `version ${version}`,
      wanted: `version ${serverVersionMin} or newer (older ones lose compare-and-append updates at three replicas, or acknowledge what is not on disk)`,
      remedy: "run npm start, which brings one, or name a newer one in MILLRACE_NATS_SERVER"
    })
  }
  return connection
})

const optionsOf = Effect.fnUntraced(function*(config: NatsConfig): Effect.fn.Return<NodeConnectionOptions, LogUnfit> {
  const credentials = config.credentialsFile === undefined ? undefined : yield* credentialsIn(config.credentialsFile)
  const authenticator = credentials === undefined ? config.authenticator : credsAuthenticator(new TextEncoder().encode(credentials.text))
  const prefix = config.inboxPrefix ?? credentials?.inboxPrefix ?? "_INBOX"
  return {
    servers: typeof config.servers === "string" ? config.servers : [...config.servers],
    name: config.name,
    inboxPrefix: `${prefix}.${randomBytes(24).toString("base64url")}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    reconnectJitter: 100,
    pingInterval: 10_000,
    timeout: 5_000,
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(config.tls === undefined ? {} : { tls: config.tls })
  }
})

const credentialsIn = (file: string): Effect.Effect<{ readonly text: string; readonly inboxPrefix: string }, LogUnfit> =>
  Effect.tryPromise({
    try: async () => {
      const text = await readFile(file, "utf8")
      return { text, inboxPrefix: inboxPrefixIn(jwtInCreds(text)) }
    },
    catch: (cause) =>
      new LogUnfit({
        where: `the credentials file ${file}`,
        found: `unusable (${reasonOf(cause)})`,
        wanted: "a file of a user JWT and its seed, as the provisioning writes it",
        remedy: "point MILLRACE_NATS_CREDS at the file that the provisioning wrote for this service"
      })
  })

const refusal = (config: NatsConfig, cause: unknown): JournalUnavailable | LogUnfit =>
  cause instanceof errors.AuthorizationError || cause instanceof errors.UserAuthenticationExpiredError
    ? new LogUnfit({
      where: `the log at ${String(config.servers)}`,
      found: "closed to this user",
      wanted: `a user that may enter as ${config.name}`,
      remedy: "check MILLRACE_NATS_CREDS, or mint the user anew"
    })
    : new JournalUnavailable({ doing: `connecting to ${String(config.servers)}`, detail: reasonOf(cause) })

/** The words of whatever was thrown. */
export const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

const isOlder = (found: string, wanted: string): boolean => {
  const [left, right] = [found, wanted].map((text) => text.split(/[.-]/u).slice(0, 3).map((part) => Number.parseInt(part, 10) || 0))
  for (let index = 0; index < 3; index += 1) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
