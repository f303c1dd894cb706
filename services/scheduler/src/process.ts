import { Checkpoints } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { beatsLayer, logConfig, logLayer, seatLayer, service, setting, WarrantSigner, WarrantVerifier } from "@millrace/service"
import { Clock, Config, Effect, Layer, Schema } from "effect"
import { Rounds } from "./api/rounds.ts"
import { leaseMsUsual, SchedulerReads, schedulerService } from "./service.ts"

const LeaseMs = Schema.Int.check(Schema.isBetween({ minimum: 200, maximum: 600_000 }))
const FactsBetween = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000_000 }))

/** The scheduler as a process: its settings, and what it stands on. */
export const schedulerProcess = service({
  name: "scheduler",
  config: Config.all({
    log: logConfig,
    cellKey: setting("MILLRACE_CELL_KEY", {
      purpose: "the private key that warrants are signed with; made when missing",
      wants: "a path",
      read: Config.NonEmptyString
    }),
    checkpoints: setting("MILLRACE_CHECKPOINTS", {
      purpose: "where folds keep their checkpoints; may be deleted at any time",
      wants: "a path",
      read: Config.NonEmptyString
    }),
    checkpointEvery: setting("MILLRACE_CHECKPOINT_EVERY", {
      purpose: "how many facts are folded between two checkpoints; fewer make starts shorter and rounds longer",
      wants: "a whole number from 1 to 10000000",
      read: (name) => Config.schema(FactsBetween, name),
      default: 100_000
    }),
    leaseMs: setting("MILLRACE_LEASE_MS", {
      purpose: "how long a host may go on without hearing from the scheduler, and so how soon a lost one is noticed",
      wants: "whole milliseconds from 200 to 600000",
      read: (name) => Config.schema(LeaseMs, name),
      default: leaseMsUsual
    }),
    host: setting("MILLRACE_SCHEDULER_HOST", { purpose: "where hosts and waiting jobs are read", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_SCHEDULER_PORT", { purpose: "the port where hosts and waiting jobs are read", wants: "a port number from 1 to 65535", read: Config.Port, default: 8084 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where the scheduler's tables are; work is placed without them", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    cellKeyPublic: setting("MILLRACE_CELL_KEY_PUBLIC", { purpose: "the cell's public key, which the warrants of programs inside sandboxes are checked with", wants: "a path", read: Config.NonEmptyString })
  }),
  layer: ({ cellKey, cellKeyPublic, checkpointEvery, checkpoints, database, host, leaseMs, log, port }) => {
    const journal = logLayer("scheduler", log)
    const signer = WarrantSigner.layer(cellKey)
    // The signer makes the cell's key where there is none, and with it the public half.
    const verifier = Layer.provide(WarrantVerifier.layer(cellKeyPublic), signer)
    return Layer.unwrap(Effect.map(Clock.Clock, (clock) => {
      const rounds = new Rounds(() => clock.currentTimeMillisUnsafe())
      const deciding = schedulerService({ checkpointEvery, leaseMs, watch: () => rounds.passed() }).pipe(
        Layer.provide([beatsLayer("scheduler", log), seatLayer("scheduler", log), Checkpoints.layerFolder(checkpoints), signer])
      )
      const reads = SchedulerReads({ host, port, rounds }).pipe(Layer.provide([Database.layerLate({ url: database }), verifier]))
      return Layer.merge(deciding, reads)
    })).pipe(Layer.provide(journal))
  }
})
