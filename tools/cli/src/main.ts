import { logsLayer } from "@millrace/service"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit, Fiber, Layer } from "effect"
import { CliConfig, CliError, CliOutput, Command, GlobalFlag } from "effect/cli"
import { exitCodes } from "./exit-codes.ts"
import { millrace } from "./millrace.ts"
import { presenter } from "./presenter.ts"
import { Ended } from "./trouble.ts"
import manifest from "../package.json" with { type: "json" }

/** How long an interrupted command may take to let go, in ms. */
const stopMsMax = 3_000

const around = Layer.mergeAll(
  NodeServices.layer,
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
  CliOutput.layerPresenter(presenter(CliOutput.defaultFormatter({ colors: process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined }))),
  logsLayer({ format: "auto", level: "Error", fields: {} })
)

const fiber = Effect.runFork(Command.runWith(millrace, { version: manifest.version })(process.argv.slice(2)).pipe(Effect.provide(around)))

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    Effect.runFork(Fiber.interrupt(fiber))
    setTimeout(() => process.exit(exitCodes.interrupted.code), stopMsMax).unref()
  })
}

// Whoever read our output has seen enough, as in `millrace events | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? exitCodes.done.code : exitCodes.bug.code))

fiber.addObserver((exit) => process.stdout.write("", () => process.exit(codeOf(exit))))

function codeOf(exit: Exit.Exit<void, unknown>): number {
  if (Exit.isSuccess(exit)) return exitCodes.done.code
  if (Cause.hasInterruptsOnly(exit.cause)) return exitCodes.interrupted.code
  const error = Cause.squash(exit.cause)
  if (error instanceof Ended) return error.exitCode
  if (CliError.isCliError(error)) return error._tag === "ShowHelp" && error.errors.length === 0 ? exitCodes.done.code : exitCodes.usage.code
  process.stderr.write(`${Cause.pretty(exit.cause)}\n`)
  return exitCodes.bug.code
}
