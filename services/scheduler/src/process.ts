import { Checkpoints } from "@millrace/journal"
import { beatsLayer, logConfig, logLayer, service, setting, WarrantSigner } from "@millrace/service"
import { Config, Layer, Schema } from "effect"
import { leaseMsUsual, schedulerService } from "./service.ts"

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
    })
  }),
  layer: ({ cellKey, checkpointEvery, checkpoints, leaseMs, log }) =>
    schedulerService({ checkpointEvery, leaseMs }).pipe(
      Layer.provide([logLayer("scheduler", log), beatsLayer("scheduler", log), Checkpoints.layerFolder(checkpoints), WarrantSigner.layer(cellKey)])
    )
})
