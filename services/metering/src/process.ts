import { Checkpoints } from "@millrace/journal"
import { picoOf } from "@millrace/pricing"
import { Database } from "@millrace/readmodel"
import { logConfig, logLayer, service, setting, WarrantVerifier } from "@millrace/service"
import { Config, Layer, Schema } from "effect"
import { MeteringService } from "./service.ts"

const Dollars = Schema.String.pipe(Schema.check(Schema.makeFilter((text: string) => picoOf(text) !== undefined || "an amount such as 100 or 0.05")))
const FactsBetween = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000_000 }))

/** Metering as a process: its settings, and what it stands on. */
export const meteringProcess = service({
  name: "metering",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_METERING_HOST", { purpose: "where usage, accounts and prices are read", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_METERING_PORT", { purpose: "the port where usage, accounts and prices are read", wants: "a port number from 1 to 65535", read: Config.Port, default: 8083 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where metering's tables are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    cellKey: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which the warrants of programs inside sandboxes are checked with", wants: "a path", read: Config.NonEmptyString }),
    checkpoints: setting("MILLRACE_CHECKPOINTS", { purpose: "where folds keep their checkpoints; may be deleted at any time", wants: "a path", read: Config.NonEmptyString }),
    checkpointEvery: setting("MILLRACE_CHECKPOINT_EVERY", {
      purpose: "how many facts are folded between two checkpoints; fewer make starts shorter and rounds longer",
      wants: "a whole number from 1 to 10000000",
      read: (name) => Config.schema(FactsBetween, name),
      default: 100_000
    }),
    workspaceLimit: setting("MILLRACE_WORKSPACE_LIMIT", {
      purpose: "how many dollars the account of a new workspace may spend; those that are open keep theirs",
      wants: "dollars, such as 100 or 0.05",
      read: (name) => Config.schema(Dollars, name),
      default: "100"
    })
  }),
  layer: ({ cellKey, checkpointEvery, checkpoints, database, host, log, port, workspaceLimit }) =>
    MeteringService({ host, port, checkpointEvery, workspaceLimitPico: picoOf(workspaceLimit) ?? 0n }).pipe(
      Layer.provide([
        logLayer("metering", log),
        Checkpoints.layerFolder(checkpoints),
        Database.layer({ url: database }),
        WarrantVerifier.layer(cellKey)
      ])
    )
})
