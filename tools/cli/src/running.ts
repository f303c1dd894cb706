import { logsLayer } from "@millrace/service"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit, Layer } from "effect"
import { CliConfig, CliError, CliOutput, Command, GlobalFlag } from "effect/cli"
import { exitCodes } from "./exit-codes.ts"
import { millrace } from "./millrace.ts"
import { presenter } from "./presenter.ts"
import { Ended } from "./trouble.ts"
import manifest from "../package.json" with { type: "json" }

const around = () => Layer.mergeAll(
  NodeServices.layer,
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
  CliOutput.layerPresenter(presenter(CliOutput.defaultFormatter({ colors: process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined }))),
  logsLayer({ format: "auto", level: "Error", fields: {} })
)

/** One run of the command, with these words behind its name. */
export const running = (args: ReadonlyArray<string>) => Effect.provide(Command.runWith(millrace, { version: manifest.version })(args), around())

/** The exit code of a run. */
export const codeOf = (exit: Exit.Exit<void, unknown>): number => {
  if (Exit.isSuccess(exit)) return exitCodes.done.code
  if (Cause.hasInterruptsOnly(exit.cause)) return exitCodes.interrupted.code
  const error = Cause.squash(exit.cause)
  if (error instanceof Ended) return error.exitCode
  if (CliError.isCliError(error)) return error._tag === "ShowHelp" && error.errors.length === 0 ? exitCodes.done.code : exitCodes.usage.code
  process.stderr.write(`${Cause.pretty(exit.cause)}\n`)
  return exitCodes.bug.code
}
