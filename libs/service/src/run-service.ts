import { Cause, Config, Deferred, Duration, Effect, Exit, Fiber, Layer, Option } from "effect"
import { Ending } from "./ending.ts"
import { ExitCode } from "./exit-code.ts"
import { serveHealth } from "./health.ts"
import { helpText } from "./help.ts"
import { logsLayer } from "./logs.ts"
import { Readiness } from "./readiness.ts"
import { processConfig, type ProcessSettings, type Service, serviceLayer } from "./service.ts"
import { readSettings } from "./settings.ts"
import { settingsSource } from "./settings-source.ts"

/** After a bug nothing is trusted to close well; children still get this long, in ms, to be ended. */
const CLOSE_AFTER_BUG_MS = 2_000

/**
 * Runs a service as this process: reads its settings, serves health, starts it, and ends the process with one
 * of `ExitCode`: when SIGTERM or SIGINT asks for it, when it cannot start, or at a bug. Returns at once; call
 * it once, as the last thing of `main.ts`.
 */
export const runService = <A, E>(whole: Service<A, E>): void => {
  // Whoever read our log lines may go away; that is no reason to stop working.
  process.stderr.on("error", () => {})
  const config = Config.all({ process: processConfig, service: whole.config })
  const main = process.argv.slice(2).some((word) => word === "--help" || word === "-h")
    ? Effect.map(helpText(whole.name, config), (text) => {
      process.stdout.write(text)
      return ExitCode.stopped
    })
    : live(whole, config)
  Effect.runCallback(main, {
    onExit: (exit) => {
      if (Exit.isSuccess(exit)) process.exit(exit.value)
      process.stderr.write(`${JSON.stringify({ level: "fatal", service: whole.name, message: "the process frame itself has a bug", cause: Cause.pretty(exit.cause) })}\n`)
      process.exit(ExitCode.bug)
    }
  })
}

/** Why a process ends. */
type End =
  | { readonly why: "asked"; readonly signal: NodeJS.Signals }
  | { readonly why: "ended"; readonly cause: Cause.Cause<unknown> }

const live = <A, E>(whole: Service<A, E>, config: Config.Config<{ readonly process: ProcessSettings; readonly service: A }>) =>
  Effect.gen(function*() {
    const settings = yield* Effect.flatMap(settingsSource(process.env), (source) => readSettings(config, source))
    return yield* lived(whole, settings.service, settings.process).pipe(
      Effect.provide(Readiness.layer),
      Effect.provide(logsLayer({
        format: settings.process.logFormat,
        level: settings.process.logLevel,
        fields: { service: whole.name, cell: settings.process.cell }
      }))
    )
  }).pipe(
    Effect.catchTag("SettingsWrong", ({ faults }) =>
      Effect.as(Effect.forEach(faults, (fault) => Effect.logFatal(fault)), ExitCode.settings).pipe(
        Effect.provide(logsLayer({ format: "auto", level: "Info", fields: { service: whole.name } }))
      ))
  )

const lived = Effect.fnUntraced(function*<A, E>(whole: Service<A, E>, settings: A, around: ProcessSettings): Effect.fn.Return<ExitCode, never, Readiness> {
  const ending = Deferred.makeUnsafe<End>()
  const end = (reason: End) => Deferred.doneUnsafe(ending, Effect.succeed(reason))
  listen(end)
  const readiness = yield* Readiness
  const fiber = yield* Effect.forkDetach(
    Effect.scoped(Effect.gen(function*() {
      const port = yield* serveHealth({ host: around.healthHost, port: around.healthPort })
      yield* Effect.logInfo("health is served", { address: `http://${around.healthHost}:${port}` })
      yield* Effect.scoped(Effect.andThen(
        Layer.build(serviceLayer(whole, settings, around)),
        Effect.andThen(Effect.logInfo("it has started"), Effect.never)
      ))
    })).pipe(
      Effect.provideService(Ending, (cause) => Effect.sync(() => void end({ why: "ended", cause }))),
      Effect.onExit((exit) => Effect.sync(() => {
        if (Exit.isFailure(exit)) end({ why: "ended", cause: exit.cause })
      }))
    )
  )
  const reason = yield* Deferred.await(ending)
  const code = yield* report(reason)
  yield* readiness.notReady(whole.name, "it is stopping")
  const within = code === ExitCode.bug ? Duration.min(around.stopWithin, Duration.millis(CLOSE_AFTER_BUG_MS)) : around.stopWithin
  // Finalizers cannot be interrupted, so their end is awaited from outside, and left behind when it is late.
  const closed = yield* Effect.timeoutOption(Fiber.await(yield* Effect.forkDetach(Fiber.interrupt(fiber))), within)
  if (Option.isSome(closed)) {
    if (code === ExitCode.stopped) yield* Effect.logInfo("it has stopped")
    return code
  }
  if (code !== ExitCode.stopped) return code
  yield* Effect.logError(`something did not let go within ${Duration.format(within)} and is left behind; MILLRACE_STOP_WITHIN gives more time`)
  return ExitCode.stoppedLate
})

/** Says once why the process ends, and gives its exit code. */
const report = (reason: End): Effect.Effect<ExitCode> => {
  if (reason.why === "asked") return Effect.as(Effect.logInfo(`it is stopping, as ${reason.signal} asks`), ExitCode.stopped)
  const failure = Cause.findErrorOption(reason.cause)
  return Cause.hasDies(reason.cause) || Option.isNone(failure)
    ? Effect.as(Effect.logFatal("a bug ends this process", reason.cause), ExitCode.bug)
    : Effect.as(Effect.logFatal(sentence(failure.value)), ExitCode.unavailable)
}

const sentence = (failure: unknown): string =>
  failure instanceof Error && failure.message !== "" ? failure.message : `it cannot go on: ${String(failure)}`

/** The process hears signals and what nobody caught for as long as it lives. */
const listen = (end: (reason: End) => boolean) => {
  let asked = false
  const ask = (signal: NodeJS.Signals) => {
    if (asked) process.exit(ExitCode.insisted)
    asked = true
    end({ why: "asked", signal })
  }
  process.on("SIGTERM", ask)
  process.on("SIGINT", ask)
  process.on("uncaughtException", (defect) => end({ why: "ended", cause: Cause.die(defect) }))
  process.on("unhandledRejection", (defect) => end({ why: "ended", cause: Cause.die(defect) }))
}
