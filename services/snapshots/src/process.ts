import { Blobs } from "@millrace/blobs"
import { Checkpoints } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { Authority, logConfig, logLayer, service, setting, WarrantVerifier } from "@millrace/service"
import { Config, Layer, Schema } from "effect"
import { SnapshotsService } from "./service.ts"

const Days = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 36_500 }))
const dayMs = 86_400_000

/** The snapshots service as a process: its settings, and what it stands on. */
export const snapshotsProcess = service({
  name: "snapshots",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_SNAPSHOTS_HOST", { purpose: "where its reads are served", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_SNAPSHOTS_PORT", { purpose: "the port of its reads", wants: "a port number from 1 to 65535", read: Config.Port, default: 8086 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where the tables of snapshots are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    blobs: setting("MILLRACE_BLOBS", { purpose: "the folder that holds blobs", wants: "a path", read: Config.NonEmptyString }),
    checkpoints: setting("MILLRACE_CHECKPOINTS", { purpose: "where folds keep their checkpoints; may be deleted at any time", wants: "a path", read: Config.NonEmptyString }),
    cellKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which warrants are checked against", wants: "a path", read: Config.NonEmptyString }),
    keepDays: setting("MILLRACE_SNAPSHOTS_KEEP_DAYS", { purpose: "how long a snapshot is kept; without it until somebody asks for its end", wants: "a whole number of days from 1 to 36500", read: (name) => Config.schema(Days, name), default: undefined })
  }),
  layer: ({ blobs, cellKey, checkpoints, database, host, keepDays, log, port }) =>
    SnapshotsService({ host, port, ...(keepDays === undefined ? {} : { keepMs: keepDays * dayMs }) }).pipe(
      Layer.provide([
        Database.layer({ url: database }),
        Blobs.folder(blobs),
        Checkpoints.layerFolder(checkpoints),
        WarrantVerifier.layer(cellKey),
        Authority.layer
      ]),
      Layer.provide(logLayer("snapshots", log))
    )
})
