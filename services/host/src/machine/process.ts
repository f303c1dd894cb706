import { Duration, Effect } from "effect"
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
export const processRuntime = (folder: string): Runtime => ({
  name: "process",
  start: Effect.fnUntraced(function*(made, program) {
    const [command, ...args] = program.argv
    if (command === undefined) return yield* new CannotStart({ runtime: "process", detail: "argv is empty: say what to run" })
    const cwd = join(folder, made.attemptId)
    yield* Effect.tryPromise({
      try: () => mkdir(cwd, { recursive: true, mode: 0o700 }),
      catch: (cause) => new CannotStart({ runtime: "process", detail: String(cause) })
    })
    const env = { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: cwd, MILLRACE_JOB: made.jobId, MILLRACE_ATTEMPT: made.attemptId, ...program.env }
    const child = yield* spawned(command, args, { cwd, env })
    const stdout = kept(child, "stdout")
    const stderr = kept(child, "stderr")
    const over = new Promise<Ended>((resolve) => {
      // Descendants may outlive their leader and hold its output open; nothing of the attempt does.
      child.once("exit", () => signal(-child.pid!, "SIGKILL"))
      child.once("close", (code, signal) => {
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
    return { ended: Effect.promise(() => over), stop }
  }),
  // The agent may have died between starting the work and writing down its pid, so the work is found by
  // what is in its environment: every descendant of the attempt carries its id.
  endOrphan: (attempt) =>
    Effect.promise(async () => {
      for (const pid of await readdir("/proc").catch(() => [])) {
        if (!/^[0-9]+$/u.test(pid)) continue
        const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")
        if (environment.split("\0").includes(`MILLRACE_ATTEMPT=${attempt}`)) signal(Number(pid), "SIGKILL")
      }
    })
})

const spawned = (command: string, args: ReadonlyArray<string>, options: { readonly cwd: string; readonly env: Record<string, string> }) =>
  Effect.callback<ChildProcess, CannotStart>((resume) => {
    const child = spawn(command, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] })
    child.once("spawn", () => resume(Effect.succeed(child)))
    child.once("error", (cause: NodeJS.ErrnoException) =>
      resume(Effect.fail(new CannotStart({ runtime: "process", detail: cause.code === "ENOENT" ? `there is no program ${command} here` : cause.message }))))
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
