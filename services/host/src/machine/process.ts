import type { AttemptId } from "@millrace/schemas"
import { crashPoint } from "@millrace/journal"
import { Duration, Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdir, readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import { CannotStart, type Ended, type Runtime } from "./runtime.ts"

const outputBytesMax = 1024 * 1024
const graceMs = 2000

/**
 * A plain child process in a folder of its own, with nothing in its environment but what the job names.
 * It isolates nothing, so it takes only work that is our own. Output is kept up to 1 MiB a stream; what
 * comes after is counted and dropped, so that a flood costs the writer and not the host.
 */
export const processRuntime = (folder: string, live: Set<Effect.Effect<void>> = new Set()): Runtime => ({
  name: "process",
  start: Effect.fnUntraced(function*(made, program) {
    const [command, ...args] = program.argv
    if (command === undefined) return yield* new CannotStart({ runtime: "process", detail: "argv is empty: say what to run" })
    const cwd = join(folder, made.attemptId)
    yield* Effect.tryPromise({
      try: () => mkdir(cwd, { recursive: true, mode: 0o700 }),
      catch: (cause) => new CannotStart({ runtime: "process", detail: String(cause) })
    })
    const env = { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: cwd, ...program.env, MILLRACE_JOB: made.jobId, MILLRACE_ATTEMPT: made.attemptId }
    yield* crashPoint("start work before")
    const child = yield* spawned(command, args, { cwd, env }).pipe(
      Effect.tapError(() => Effect.promise(() => rm(cwd, { recursive: true, force: true })))
    )
    const stdout = kept(child, "stdout")
    const stderr = kept(child, "stderr")
    const over = new Promise<Ended>((resolve) => {
      // Descendants may outlive their leader and hold its output open; nothing of the attempt does. One that
      // left the group is found by its environment; one that cleared that too no longer holds up the end.
      let giveUp: NodeJS.Timeout | undefined
      child.once("exit", () => {
        signal(-child.pid!, "SIGKILL")
        void endByEnvironment(made.attemptId).catch(() => undefined)
        giveUp = setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream?.destroy()), graceMs)
      })
      child.once("close", (code, signal) => {
        clearTimeout(giveUp)
        void rm(cwd, { recursive: true, force: true }).catch(() => undefined).then(() =>
          resolve({
            ...(code === null ? {} : { code }),
            ...(signal === null ? {} : { signal }),
            output: [stdout(), stderr()].filter(({ bytes, droppedBytes }) => bytes.length + droppedBytes > 0)
          }))
      })
    })
    const stop = Effect.suspend(() => {
      signal(-child.pid!, "SIGTERM")
      return Effect.promise(() => over).pipe(
        Effect.timeoutOption(Duration.millis(graceMs)),
        Effect.andThen(Effect.sync(() => signal(-child.pid!, "SIGKILL"))),
        Effect.andThen(Effect.promise(() => over)),
        Effect.asVoid
      )
    })
    live.add(stop)
    void over.then(() => live.delete(stop))
    yield* crashPoint("start work after")
    return { ended: Effect.promise(() => over), stop }
  }),
  // The agent may have died between starting the work and writing down its pid.
  endOrphan: (attempt) => Effect.promise(() => endByEnvironment(attempt))
})

/** Ends every process that carries the attempt's id in its environment, as each descendant of it does. */
const endByEnvironment = async (attempt: AttemptId): Promise<void> => {
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^[0-9]+$/u.test(pid)) continue
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")
    if (environment.split("\0").includes(`MILLRACE_ATTEMPT=${attempt}`)) signal(Number(pid), "SIGKILL")
  }
}

/** The same for as long as the scope lives: what still runs at its end is ended, so that a stopped agent leaves nothing behind. */
export const openProcessRuntime = (folder: string): Effect.Effect<Runtime, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Set<Effect.Effect<void>>()),
    (live) => Effect.all([...live], { concurrency: "unbounded", discard: true })
  ).pipe(Effect.map((live) => processRuntime(folder, live)))

const spawned = (command: string, args: ReadonlyArray<string>, options: { readonly cwd: string; readonly env: Record<string, string> }) =>
  Effect.callback<ChildProcess, CannotStart>((resume) => {
    const cannot = (detail: string) => resume(Effect.fail(new CannotStart({ runtime: "process", detail })))
    try {
      const child = spawn(command, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] })
      child.once("spawn", () => resume(Effect.succeed(child)))
      child.once("error", (cause: NodeJS.ErrnoException) => cannot(cause.code === "ENOENT" ? `there is no program ${command} here` : cause.message))
    } catch (cause) {
      // What no system could start, such as a word with a zero byte in it, is thrown at once.
      cannot(cause instanceof Error ? cause.message : String(cause))
    }
  })

const kept = (child: ChildProcess, name: "stdout" | "stderr") => {
  const chunks: Array<Buffer> = []
  let bytes = 0
  let droppedBytes = 0
  child[name]?.on("data", (chunk: Buffer) => {
    const room = Math.max(0, outputBytesMax - bytes)
    if (room > 0) chunks.push(chunk.subarray(0, room))
    bytes += Math.min(room, chunk.length)
    droppedBytes += Math.max(0, chunk.length - room)
  })
  return () => ({ name, bytes: Buffer.concat(chunks), droppedBytes })
}

/** A negative pid is a process group's, as in kill(2). What is gone already needs no signal. */
const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ESRCH") throw cause
  }
}
