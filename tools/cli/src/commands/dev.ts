import { Effect, Option } from "effect"
import { Argument, Command } from "effect/cli"
import { spawn } from "node:child_process"
import { constants } from "node:os"
import { resolve } from "node:path"
import { folderFlag } from "../door.ts"
import { switched } from "../flags.ts"
import { Ended } from "../trouble.ts"

const main = resolve(import.meta.dirname, "../../../dev/src/main.ts")

const flags = {
  once: switched("once", "on free ports, in a fresh folder; ends after the story"),
  freePorts: switched("free-ports", "free ports instead of the usual ones"),
  folder: folderFlag,
  more: Argument.String("more").pipe(Argument.withDescription("further options of npm start, behind --"), Argument.variadic({ min: 0 }))
}

export const dev = Command.make("dev", flags, (given) =>
  Effect.flatMap(
    started([
      ...(given.once ? ["--once"] : []),
      ...(given.freePorts ? ["--free-ports"] : []),
      ...Option.match(given.folder, { onNone: () => [], onSome: (folder) => ["--folder", folder] }),
      ...given.more
    ]),
    (exitCode) => (exitCode === 0 ? Effect.void : Effect.fail(new Ended({ exitCode })))
  )).pipe(
  Command.withDescription("Run a whole cell on this machine, as npm start does: servers, services, a host and a pretend cloud. Stays up until Ctrl-C."),
  Command.withShortDescription("run a whole cell on this machine"),
  Command.withExamples([
    { command: "millrace dev", description: "Stays up; the other commands find it by themselves" },
    { command: "millrace dev --once", description: "The first story, and nothing is left behind" }
  ])
)

/** Runs it as a process of its own, with this terminal, until it ends. */
const started = (args: ReadonlyArray<string>): Effect.Effect<number> =>
  Effect.callback((resume) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: "inherit" })
    child.on("error", () => resume(Effect.succeed(70)))
    child.on("exit", (code, signal) => resume(Effect.succeed(code ?? 128 + constants.signals[signal ?? "SIGTERM"])))
    // At a terminal Ctrl-C reaches it too; it says its last words before this process goes.
    return Effect.callback<void>((done) => {
      if (child.exitCode !== null || child.signalCode !== null) return done(Effect.void)
      child.once("exit", () => done(Effect.void))
      child.kill("SIGTERM")
    })
  })
