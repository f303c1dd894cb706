import { Effect, Exit, Scope } from "effect"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { configText, type OperatorMode, type ServerConfig } from "./config.ts"
import { send, takeHold } from "./holder.ts"
import { NatsUnavailable } from "./nats-unavailable.ts"
import { freePorts } from "@millrace/infra-ports"
import { findServer, launch, type Run } from "./program.ts"

const PORT_TRIES_MAX = 5
/** The largest message that a server of ours takes, unless it is told. */
export const PAYLOAD_BYTES_MAX = 1_048_576

export interface ServerOptions {
  /** Everything of this server: its log, its configuration and JetStream's files. Made when missing. */
  readonly storeDir: string
  /** 0, as by default: a free one, kept over restarts of this server. */
  readonly port?: number
  readonly name?: string
  /** Every acknowledged message is on disk. Off only where losing all of them does not matter. */
  readonly syncAlways?: boolean
  readonly maxPayloadBytes?: number
  /** Also answers /healthz and /varz on a free port of loopback. */
  readonly monitor?: boolean
  /** Another program than the one of this machine, such as one that enters a sandbox first. */
  readonly program?: string
  /** Who may do what. Without it everybody may do everything, which suits tests of libraries alone. */
  readonly accounts?: OperatorMode
}

/** A nats-server of ours: a child of this process, which ends with the scope it was started in. */
export interface NatsServer {
  readonly url: string
  readonly port: number
  readonly storeDir: string
  /** The base URL of its monitoring, when asked for. */
  readonly monitorUrl: string | undefined
  /** The process it runs as now, or ran as last. */
  readonly pid: () => number
  /** Ends it at once (SIGKILL), as a crash would. */
  readonly kill: Effect.Effect<void>
  /** Ends it kindly. */
  readonly stop: Effect.Effect<void>
  /** Ends it, if it runs, and starts it again from the same folder on the same port. */
  readonly restart: Effect.Effect<void, NatsUnavailable>
  /** Freezes it (SIGSTOP) and lets it go on. */
  readonly freeze: Effect.Effect<void>
  readonly thaw: Effect.Effect<void>
  /** Waits; fails when the server ends without having been asked to. */
  readonly watch: Effect.Effect<never, NatsUnavailable>
}

/**
 * Starts one nats-server on loopback and waits until it accepts clients. It is stopped when the scope
 * closes. A server left behind by a killed run on the same folder is stopped first; a folder that a
 * living process holds is refused.
 */
export const startServer = (options: ServerOptions): Effect.Effect<NatsServer, NatsUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const [port = 0, monitorPort] = yield* freePorts(options.monitor === true ? 2 : 1)
    return yield* serve({ ...options, port: options.port || port, monitorPort })
  }).pipe(options.port ? (effect) => effect : Effect.retry({ times: PORT_TRIES_MAX, while: portWasTaken }))

/** The port that was free a moment ago is not any more. */
export const portWasTaken = (error: NatsUnavailable): boolean =>
  error.reason === "would_not_start" && error.detail.includes("address already in use")

export interface ServeOptions extends Omit<ServerOptions, "monitor"> {
  readonly port: number
  readonly monitorPort?: number | undefined
  readonly cluster?: ServerConfig["cluster"]
}

/** Starts one nats-server on exactly these ports. */
export const serve = (options: ServeOptions): Effect.Effect<NatsServer, NatsUnavailable, Scope.Scope> => wholeOrNothing(serveWithin(options))

/** What fails to start lets go at once of what it had taken, so that it can be tried again. */
export const wholeOrNothing = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E, Scope.Scope> =>
  Effect.flatMap(Effect.flatMap(Effect.scope, (outer) => Scope.fork(outer)), (own) =>
    effect.pipe(Effect.provideService(Scope.Scope, own), Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))))

const serveWithin = Effect.fnUntraced(function*(options: ServeOptions) {
  const storeDir = resolve(options.storeDir)
  const program = yield* findServer(storeDir, options.program)
  yield* Effect.try({
    try: () => mkdirSync(storeDir, { recursive: true, mode: 0o700 }),
    catch: (cause) => new NatsUnavailable({ reason: "folder_unusable", storeDir, detail: String(cause) })
  })
  yield* takeHold(storeDir)
  yield* Effect.try({
    try: () => writeFileSync(join(storeDir, "nats-server.conf"), configText(configOf(storeDir, options)), { mode: 0o600 }),
    catch: (cause) => new NatsUnavailable({ reason: "folder_unusable", storeDir, detail: String(cause) })
  })

  const start = Effect.catchTag(launch(program, storeDir, options.port), "NatsUnavailable", (error) =>
    Effect.fail(new NatsUnavailable({ ...error, detail: [error.detail, lastLog(storeDir)].filter((text) => text !== "").join(" | ") })))
  let run: Run = yield* Effect.acquireRelease(start, () => Effect.suspend(() => run.stop))
  const asked = new Set<Run>()
  const end = (signal: "SIGKILL" | "SIGTERM") =>
    Effect.suspend(() => {
      asked.add(run)
      const ending = run
      if (signal === "SIGTERM") return ending.stop
      send(ending.pid, "SIGKILL")
      return Effect.asVoid(Effect.promise(() => ending.ended))
    })

  const server: NatsServer = {
    url: `nats://127.0.0.1:${options.port}`,
    port: options.port,
    storeDir,
    monitorUrl: options.monitorPort === undefined ? undefined : `http://127.0.0.1:${options.monitorPort}`,
    pid: () => run.pid,
    kill: end("SIGKILL"),
    stop: end("SIGTERM"),
    restart: Effect.uninterruptible(Effect.gen(function*() {
      yield* end("SIGTERM")
      run = yield* start
    })),
    freeze: Effect.sync(() => void send(run.pid, "SIGSTOP")),
    thaw: Effect.sync(() => void send(run.pid, "SIGCONT")),
    watch: Effect.gen(function*() {
      while (true) {
        const watched = run
        const detail = yield* Effect.promise(() => watched.ended)
        if (!asked.has(watched)) return yield* new NatsUnavailable({ reason: "ended", storeDir, detail })
        // It was asked to end: look at the next run, if one comes.
        yield* Effect.sleep("100 millis")
      }
    })
  }
  return server
})

const configOf = (storeDir: string, options: ServeOptions): ServerConfig => ({
  name: options.name ?? "millrace",
  port: options.port,
  storeDir,
  syncAlways: options.syncAlways ?? true,
  maxPayloadBytes: options.maxPayloadBytes ?? PAYLOAD_BYTES_MAX,
  monitorPort: options.monitorPort,
  cluster: options.cluster,
  accounts: options.accounts
})

/** The last complaint in the server's log. */
const lastLog = (storeDir: string) => {
  try {
    const lines = readFileSync(join(storeDir, "nats-server.log"), "utf8").trim().split("\n")
    return lines.filter((line) => /\[(FTL|ERR)\]/.test(line)).slice(-2).join(" | ")
  } catch {
    return ""
  }
}
