import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { Effect, type Scope } from "effect"
import type { LogLine } from "../logs.ts"

/** A service that runs as a real process, and what it has logged by now. */
export interface Child {
  readonly pid: number
  readonly lines: ReadonlyArray<LogLine>
  readonly stdout: () => string
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** The first line, past or future, that holds; dies after 25 s or when the process ends without it. */
  readonly line: (holds: (line: LogLine) => boolean) => Effect.Effect<LogLine>
  /** How it ended; dies after 25 s. */
  readonly exited: Effect.Effect<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

const WAIT_MS_MAX = 25_000

/** Runs a script in its own process, with this environment and no other, until the scope ends. */
export const startChild = (
  script: string,
  env: Readonly<Record<string, string>> = {},
  args: ReadonlyArray<string> = []
): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [script, ...args], { env: { PATH: process.env["PATH"], ...env }, stdio: ["ignore", "pipe", "pipe"] })),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    ),
    (child) => {
      const lines: Array<LogLine> = []
      const watching = new Set<() => void>()
      let stdout = ""
      child.stdout.on("data", (chunk: Buffer) => void (stdout += chunk.toString("utf8")))
      createInterface({ input: child.stderr }).on("line", (text) => {
        lines.push(read(text))
        for (const look of watching) look()
      })
      // `close` comes when its output has been read to the end, so that no line can be missed.
      const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
        child.once("close", (code, signal) => resolve({ code, signal })))
      return {
        pid: child.pid ?? 0,
        lines,
        stdout: () => stdout,
        signal: (signal) => Effect.sync(() => void child.kill(signal)),
        exited: Effect.promise(() => ended).pipe(Effect.timeout(WAIT_MS_MAX), Effect.orDie),
        line: (holds) =>
          Effect.callback<LogLine>((resume) => {
            const look = () => {
              const found = lines.find(holds)
              if (found !== undefined) resume(Effect.succeed(found))
            }
            watching.add(look)
            look()
            void ended.then(() => {
              look()
              resume(Effect.die(new Error(`the process ended without that line; it said:\n${lines.map((line) => JSON.stringify(line)).join("\n")}`)))
            })
            return Effect.sync(() => void watching.delete(look))
          }).pipe(Effect.timeout(WAIT_MS_MAX), Effect.orDie)
      }
    }
  )

const read = (text: string): LogLine => {
  try {
    return JSON.parse(text) as LogLine
  } catch {
    return { message: text, unstructured: true }
  }
}
