import { crashPoint } from "@millrace/journal"
import { AttemptId } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import { mkdir, readdir, rm } from "node:fs/promises"
import { dirname, join } from "node:path"
import { gangEnv } from "./gang-env.ts"
import type { Keeper } from "./keeper.ts"
import { endByEnvironment } from "./keeper-kill.ts"
import { adopted, runningIn } from "./keeper-running.ts"
import { CannotStart, type Runtime } from "./runtime.ts"

const outputBytesMax = 1024 * 1024

const isAttempt = Schema.is(AttemptId)

/**
 * A plain child of the keeper in a folder of its own, with nothing in its environment but what the job names.
 * It isolates nothing, so it takes only work that is our own. Output is kept up to 1 MiB a stream; what
 * comes after is counted and dropped, so that a flood costs the writer and not the host.
 */
export const processRuntime = (work: string, keeper: Keeper["Service"]): Runtime => {
  const at = (attemptId: string) => join(work, attemptId)
  const releaseOf = (attemptId: string) => Effect.promise(() => rm(at(attemptId), { recursive: true, force: true }).catch(() => undefined))
  const cannot = (detail: string) => new CannotStart({ runtime: "process", detail })
  return {
    name: "process",
    start: Effect.fnUntraced(function*({ deadlineMs, made, program, socket }) {
      const { attemptId, jobId, gpus, spec: { array }, task } = made
      if (program.argv.length === 0) return yield* cannot("argv is empty: say what to run")
      if (program.files !== undefined && program.files.length > 0) return yield* cannot("it brings no files along: take runtime sandbox")
      const folder = at(attemptId)
      const cwd = join(folder, "work")
      yield* Effect.tryPromise({ try: () => mkdir(cwd, { recursive: true, mode: 0o700 }), catch: (cause) => cannot(String(cause)) })
      const env = {
        PATH: "/usr/local/bin:/usr/bin:/bin",
        HOME: cwd,
        ...program.env,
        MILLRACE_JOB: jobId,
        MILLRACE_ATTEMPT: attemptId,
        ...(task === undefined ? {} : { MILLRACE_TASK: String(task) }),
        ...(array === undefined ? {} : { MILLRACE_TASKS: String(array.tasks) }),
        ...gangEnv(made),
        // By the driver's own numbers, which are those of the bus.
        ...(gpus === undefined ? {} : { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: gpus.join(","), NVIDIA_VISIBLE_DEVICES: gpus.join(",") }),
        ...(socket === undefined ? {} : { MILLRACE_SOCKET: socket })
      }
      yield* crashPoint("start work before")
      const { pid, startedAtMs } = yield* keeper.spawn({ attemptId, argv: program.argv, env, cwd: program.cwd ?? cwd, folder, outputBytesMax, deadlineMs }).pipe(
        Effect.mapError((error) => cannot(error._tag === "CannotStart" ? error.detail : error.message)),
        Effect.tapError(() => releaseOf(attemptId))
      )
      yield* crashPoint("start work after")
      return runningIn(keeper, { attemptId, folder, pid, startedAtMs, release: releaseOf(attemptId) })
    }),
    adopt: ({ attemptId }) => adopted(keeper, { attemptId, folder: at(attemptId), release: releaseOf(attemptId) }),
    clear: Effect.fnUntraced(function*(alive) {
      const known = yield* Effect.orElseSucceed(keeper.list, () => [])
      const kept = known.filter(({ folder }) => dirname(folder) === work).map(({ attemptId }) => attemptId)
      const left = yield* Effect.promise(() => readdir(work).catch((): Array<string> => []))
      for (const attemptId of new Set<AttemptId>([...kept, ...left.filter((name): name is AttemptId => isAttempt(name))])) {
        if (alive.has(attemptId)) continue
        yield* Effect.ignore(keeper.stop(attemptId, 0))
        yield* keeper.forget(attemptId)
        yield* releaseOf(attemptId)
      }
    }),
    // What left its group and cleared its environment is nobody's: it isolates nothing.
    endOrphan: (attemptId) =>
      Effect.ignore(keeper.stop(attemptId, 0)).pipe(
        Effect.andThen(Effect.promise(() => endByEnvironment(attemptId))),
        Effect.andThen(keeper.forget(attemptId)),
        Effect.andThen(releaseOf(attemptId))
      )
  }
}
