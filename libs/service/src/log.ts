import { type Beats, type Intake, Journal, type JournalUnavailable, type Pulse, type Seat, withCrashPoints } from "@millrace/journal"
import { inboxPrefixIn, jwtInCreds, type ServiceName, services, type ServiceRoom } from "@millrace/journal/admission"
import { layerBeats, layerIntake, layerJetStream, layerPulse, layerSeat, LogUnfit } from "@millrace/journal/jetstream"
import type { StreamName } from "@millrace/schemas"
import { Config, Effect, Layer } from "effect"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { setting } from "./settings.ts"
import { carryTrace } from "./carry-trace.ts"

/** Where the log is, and who this process is there. */
export const logConfig = Config.all({
  servers: setting("MILLRACE_NATS_URL", {
    purpose: "where the log is",
    wants: "addresses of nats-servers, separated by commas",
    read: Config.NonEmptyString,
    default: "nats://127.0.0.1:4222"
  }),
  credentials: setting("MILLRACE_NATS_CREDS", {
    purpose: "the folder that holds <service>.creds, each readable by its service alone",
    wants: "a path",
    read: Config.NonEmptyString
  })
})
export type LogSettings = Config.Success<typeof logConfig>

/**
 * The log as one service may use it: with its own credentials, its crash points and its traces. Refused at
 * start, in a sentence, when server, streams or permissions are not what the schemas say. The pulses of the
 * services come with it.
 */
export const logLayer = (name: ServiceName, { credentials, servers }: LogSettings): Layer.Layer<Journal | Pulse, JournalUnavailable | LogUnfit> => {
  const room: ServiceRoom = services[name]
  const writes: ReadonlyArray<StreamName> = room.writes === undefined ? [] : [room.writes]
  const path = join(credentials, `${name}.creds`)
  const nats = (inboxPrefix: string) => ({ servers: servers.split(","), name, credentialsFile: path, inboxPrefix })
  const pulse = Layer.unwrap(Effect.map(inboxOf(path), (inboxPrefix) => layerPulse(name, { ...nats(inboxPrefix), name: `${name} pulse` })))
  const journal = decorated(Layer.unwrap(Effect.map(inboxOf(path), (inboxPrefix) =>
    layerJetStream({ nats: nats(inboxPrefix), streams: [...writes, ...room.hears], writes }))))
  return Layer.merge(journal, pulse)
}

/** Beats, over a connection of their own: for the service that answers them. */
export const beatsLayer = (name: ServiceName, { credentials, servers }: LogSettings): Layer.Layer<Beats, JournalUnavailable | LogUnfit> => {
  const credentialsFile = join(credentials, `${name}.creds`)
  return Layer.unwrap(Effect.map(inboxOf(credentialsFile), (inboxPrefix) =>
    layerBeats({ servers: servers.split(","), name: `${name} beats`, credentialsFile, inboxPrefix })))
}

/** The seat of a service of which one decides and others stand by. */
export const seatLayer = (name: ServiceName, { credentials, servers }: LogSettings): Layer.Layer<Seat, JournalUnavailable | LogUnfit> => {
  const credentialsFile = join(credentials, `${name}.creds`)
  return Layer.unwrap(Effect.map(inboxOf(credentialsFile), (inboxPrefix) =>
    layerSeat(name, { servers: servers.split(","), name: `${name} seat`, credentialsFile, inboxPrefix })))
}

/** Where what is published to NATS comes in, for a service that takes it. */
export const intakeLayer = (name: ServiceName, { credentials, servers }: LogSettings): Layer.Layer<Intake, JournalUnavailable | LogUnfit> => {
  const path = join(credentials, `${name}.creds`)
  return Layer.unwrap(Effect.map(inboxOf(path), (inboxPrefix) =>
    layerIntake({ servers: servers.split(","), name: `${name} intake`, credentialsFile: path, inboxPrefix })))
}

/** Any journal with crash points around what it writes, and the current trace beside it. */
export const decorated = <E, R>(journal: Layer.Layer<Journal, E, R>): Layer.Layer<Journal, E, R> =>
  Layer.effect(Journal, Effect.map(Journal, (bare) => withCrashPoints(carryTrace(bare)))).pipe(Layer.provide(journal))

const inboxOf = (path: string): Effect.Effect<string, LogUnfit> =>
  Effect.tryPromise({
    try: async () => inboxPrefixIn(jwtInCreds(await readFile(path, "utf8"))),
    catch: (cause) =>
      new LogUnfit({
        where: `the credentials file ${path}`,
        found: `unusable (${cause instanceof Error ? cause.message : String(cause)})`,
        wanted: "a file of a user JWT and its seed",
        remedy: "point MILLRACE_NATS_CREDS at the folder that the provisioning wrote"
      })
  })
