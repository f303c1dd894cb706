import { Blobs } from "@millrace/blobs"
import { Database } from "@millrace/readmodel"
import { Authority, cellKey, keyringInFolder, logConfig, intakeLayer, logLayer, service, setting, WarrantVerifier } from "@millrace/service"
import { privateKeyFrom } from "@millrace/wire"
import { Config, Duration, Layer, Schema } from "effect"
import type { Upstream } from "./api/router.ts"
import { GatewayService } from "./service.ts"

const PerSecond = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))

const upstream = (name: Upstream, what: string) =>
  setting(`MILLRACE_${name.toUpperCase()}_URL`, {
    purpose: `where ${name} serves ${what}, to be answered on the API's origin too`,
    wants: "an address such as http://127.0.0.1:8081",
    read: (name) => Config.map(Config.URL(name), ({ origin }) => origin),
    default: undefined
  })

/** The gateway as a process: its settings, and what it stands on. */
export const gatewayProcess = service({
  name: "gateway",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_API_HOST", { purpose: "where the API listens", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_API_PORT", { purpose: "the API's port", wants: "a port number from 1 to 65535", read: Config.Port, default: 8080 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where the gateway's tables are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    publicKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which the warrants of programs inside sandboxes are checked with", wants: "a path", read: Config.NonEmptyString }),
    keys: setting("MILLRACE_KEYS", { purpose: "the folder of the workspaces' keys", wants: "a path", read: Config.NonEmptyString }),
    blobs: setting("MILLRACE_BLOBS", { purpose: "the folder that holds blobs", wants: "a path", read: Config.NonEmptyString }),
    sessionKey: setting("MILLRACE_SESSION_KEY", { purpose: "the key that signs sessions with hosts, made there if it is missing; without it no relay is served", wants: "a path", read: Config.NonEmptyString, default: undefined }),
    viewAge: setting("MILLRACE_VIEW_AGE_MAX", { purpose: "how old the view of who may do what may be before nothing is allowed", wants: "a length of time such as 30 seconds", read: Config.Duration, default: Duration.seconds(30) }),
    rate: setting("MILLRACE_WORKSPACE_RATE", { purpose: "how often a second one workspace may ask on average; twice as many at once", wants: "a number from 1 to 1000000", read: (name) => Config.schema(PerSecond, name), default: 2_000 }),
    upstreams: Config.all({
      access: upstream("access", "grants, principals and decisions"),
      metering: upstream("metering", "usage, budgets and prices"),
      scheduler: upstream("scheduler", "hosts, and why a job waits"),
      broker: upstream("broker", "machine leases and capacity"),
      snapshots: upstream("snapshots", "snapshots")
    })
  }),
  layer: ({ blobs, database, host, keys, log, port, publicKey, rate, sessionKey, upstreams, viewAge }) =>
    GatewayService({
      host,
      port,
      ...(sessionKey === undefined ? {} : { sessionKey: privateKeyFrom(cellKey(sessionKey)) }),
      viewAgeMsMax: Duration.toMillis(viewAge),
      rate: { perSecond: rate, burst: rate * 2 },
      routing: { upstreams: Object.fromEntries(Object.entries(upstreams).filter(([, url]) => url !== undefined)) }
    }).pipe(
      Layer.provide(Authority.layer),
      Layer.provide([
        logLayer("gateway", log),
        intakeLayer("gateway", log),
        Database.layer({ url: database }),
        Blobs.folder(blobs),
        keyringInFolder(keys),
        WarrantVerifier.layer(publicKey)
      ])
    )
})
