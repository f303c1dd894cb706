import { HostId, type StreamName } from "@millrace/schemas"
import { AckPolicy, DeliverPolicy, JetStreamApiError, jetstreamManager } from "@nats-io/jetstream"
import { connect, type NatsConnection } from "@nats-io/transport-node"
import { Clock, Context, Effect, Layer, Schema, type Scope } from "effect"
import { AdmissionFailed } from "./admission-failed.ts"
import { credentialsIn } from "./credentials.ts"
import { HOST_API_PREFIX, hostConsumer, hostFilters, hostHears } from "./crossing.ts"
import { mintHostUser } from "./host-user.ts"
import { isPublicKey, signingKey } from "./nkey.ts"
import { makeRevoke } from "./revoking.ts"

const HOUR_MS = 3_600_000
/** No host's JWT lives longer; it is renewed while its host belongs to the cell. */
export const HOST_LIFE_MS_MAX = 24 * HOUR_MS
const HOST_LIFE_MS = HOUR_MS
/**
 * A placement that the host has not acknowledged by then is delivered again, in ms. Short, because what is
 * sent to a connection that has just been lost goes nowhere: across accounts the server does not see that
 * nobody listens any more.
 */
export const HOST_ACK_WAIT_MS = 2_000
const UNACKED_MAX = 4_096
const CONNECT_MS_MAX = 5_000
/** JetStream's code for a consumer that is not there. */
const NO_CONSUMER = 10014

/** What whoever admits hosts must hold: a secret, written by provisioning, readable by access alone. */
export const AdmissionKeys = Schema.Struct({
  /** The hosts' account. */
  hostsAccount: Schema.String,
  /** Signs users of that account. */
  hostsSigningSeed: Schema.String,
  /** Signs that account's claims: without it nobody is revoked before their JWT expires. */
  operatorSigningSeed: Schema.String,
  /** Credentials in the system's account that may put those claims before the servers. */
  claimsCreds: Schema.String
})
export type AdmissionKeys = typeof AdmissionKeys.Type

export interface HostAsk {
  readonly hostId: HostId
  /** The host's own public NKey. The private half never leaves the host. */
  readonly publicKey: string
  /** How long the credentials hold, at most 24 h; 1 h by default. */
  readonly lifeMs?: number
}

/** What a host needs, together with its own seed, to speak. None of it is of use without that seed. */
export interface HostCredentials {
  readonly jwt: string
  readonly expiresAtMs: number
  /** The one inbox it may subscribe: `connect({ inboxPrefix })`. */
  readonly inboxPrefix: string
  /** Stands before API subjects: `jetstream(connection, { apiPrefix })`. */
  readonly apiPrefix: string
  /** The durable consumers that wait for it. */
  readonly consumers: ReadonlyArray<{ readonly stream: StreamName; readonly durable: string }>
}

export interface AdmissionShape {
  /** Lets a host speak: its consumers exist, then its credentials are minted. Asking twice admits once. */
  readonly admitHost: (ask: HostAsk) => Effect.Effect<HostCredentials, AdmissionFailed>
  /** New credentials for a host that is admitted already; touches no server. */
  readonly renewHost: (ask: HostAsk) => Effect.Effect<HostCredentials, AdmissionFailed>
  /**
   * Lets a host speak no more: its key is revoked, which ends its connections at once, and its consumers
   * are gone. Asking twice dismisses once. The key stays void for as long as any of its credentials could
   * have lived; a host that comes back comes with another one.
   */
  readonly dismissHost: (host: { readonly hostId: HostId; readonly publicKey: string }) => Effect.Effect<void, AdmissionFailed>
}

export interface AdmissionOptions {
  readonly servers: ReadonlyArray<string>
  /** The text of access's own credentials file. */
  readonly creds: string
  readonly keys: AdmissionKeys
}

/** Who may speak as a host: mints, renews and revokes, and keeps the hosts' consumers. */
export class Admission extends Context.Service<Admission, AdmissionShape>()("millrace/Admission") {
  /** Over two connections of its own: one in the services' account, one in the system's. */
  static readonly layer = (options: AdmissionOptions): Layer.Layer<Admission, AdmissionFailed> =>
    Layer.effect(Admission, makeAdmission(options))
}

/** Admission for as long as the scope lives. */
export const makeAdmission = (options: AdmissionOptions): Effect.Effect<AdmissionShape, AdmissionFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const { keys, servers } = options
    const [hosts, operator] = yield* Effect.try({
      try: () => [signingKey(keys.hostsSigningSeed), signingKey(keys.operatorSigningSeed)] as const,
      catch: (cause) => new AdmissionFailed({ reason: "keys_unreadable", doing: "Reading the admission keys", detail: String(cause) })
    })
    const cell = yield* open(servers, options.creds)
    const system = yield* open(servers, keys.claimsCreds)
    const revoke = yield* makeRevoke({ system, operator, account: keys.hostsAccount, userLifeSMax: HOST_LIFE_MS_MAX / 1000 })
    const manager = yield* Effect.promise(() => jetstreamManager(cell, { checkAPI: false }))

    const renewHost = Effect.fnUntraced(function*({ hostId, lifeMs = HOST_LIFE_MS, publicKey }: HostAsk) {
      yield* checked(hostId, publicKey)
      const issuedAtS = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const expiresAtS = issuedAtS + Math.ceil(Math.min(lifeMs, HOST_LIFE_MS_MAX) / 1000)
      const minted = mintHostUser({ hostId, publicKey, account: keys.hostsAccount, issuedAtS, expiresAtS }, hosts)
      return {
        ...minted,
        expiresAtMs: expiresAtS * 1000,
        apiPrefix: HOST_API_PREFIX,
        consumers: hostHears.map((stream) => ({ stream, durable: hostConsumer(hostId) }))
      }
    })

    const addConsumer = (hostId: HostId, stream: StreamName) =>
      Effect.tryPromise({
        try: () =>
          manager.consumers.add(stream, {
            durable_name: hostConsumer(hostId),
            ack_policy: AckPolicy.Explicit,
            ack_wait: HOST_ACK_WAIT_MS * 1_000_000,
            deliver_policy: DeliverPolicy.All,
            max_ack_pending: UNACKED_MAX,
            ...filters(hostFilters(stream, hostId))
          }),
        catch: failed(`Creating the consumer of ${hostId} on ${stream}`)
      })

    const removeConsumer = (hostId: HostId, stream: StreamName) =>
      Effect.tryPromise({
        try: () => manager.consumers.delete(stream, hostConsumer(hostId)).catch((error: unknown) => {
          if (error instanceof JetStreamApiError && error.code === NO_CONSUMER) return true
          throw error
        }),
        catch: failed(`Removing the consumer of ${hostId} on ${stream}`)
      })

    return Admission.of({
      admitHost: (ask) =>
        Effect.andThen(
          checked(ask.hostId, ask.publicKey),
          Effect.andThen(Effect.forEach(hostHears, (stream) => addConsumer(ask.hostId, stream), { discard: true }), renewHost(ask))
        ),
      renewHost,
      dismissHost: ({ hostId, publicKey }) =>
        Effect.andThen(
          checked(hostId, publicKey),
          Effect.andThen(revoke(publicKey), Effect.forEach(hostHears, (stream) => removeConsumer(hostId, stream), { discard: true }))
        )
    })
  })

const filters = ([first, ...more]: ReadonlyArray<string>) =>
  more.length === 0 ? { filter_subject: first as string } : { filter_subjects: [first as string, ...more] }

const isHostId = Schema.is(HostId)

/** Both end up in subjects and claims: nothing else than an id and a key may. */
const checked = (hostId: string, publicKey: string) => {
  if (!isHostId(hostId)) return Effect.fail(new AdmissionFailed({ reason: "host_invalid", doing: "Reading a host's id", detail: JSON.stringify(hostId).slice(0, 80) }))
  if (!isPublicKey("user", publicKey)) return Effect.fail(new AdmissionFailed({ reason: "key_invalid", doing: `Reading the key of ${hostId}`, detail: JSON.stringify(publicKey).slice(0, 80) }))
  return Effect.void
}

const failed = (doing: string) => (cause: unknown) => {
  const detail = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  if (cause instanceof JetStreamApiError) return new AdmissionFailed({ reason: "not_configured", doing, detail })
  const reason = /permission/i.test(detail) ? "not_permitted" : "not_answered"
  return new AdmissionFailed({ reason, doing, detail })
}

const open = (servers: ReadonlyArray<string>, creds: string): Effect.Effect<NatsConnection, AdmissionFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () =>
        await connect({
          servers: [...servers],
          ...credentialsIn(creds),
          maxReconnectAttempts: -1,
          reconnectTimeWait: 200,
          timeout: CONNECT_MS_MAX
        }),
      catch: failed("Connecting to nats-server")
    }),
    (connection) => Effect.promise(() => connection.close())
  )
