import { Checkpoints } from "@millrace/journal"
import { logConfig, logLayer, service, setting, WarrantSigner } from "@millrace/service"
import { Config, Layer } from "effect"
import { SchedulerService } from "./service.ts"

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
    })
  }),
  layer: ({ cellKey, checkpoints, log }) =>
    SchedulerService.pipe(
      Layer.provide([logLayer("scheduler", log), Checkpoints.layerFolder(checkpoints), WarrantSigner.layer(cellKey)])
    )
})
