import type { AttemptId } from "@millrace/schemas"
import { Effect, Option, Schema } from "effect"
import { readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import type { Carried } from "./gang/carried.ts"
import type { Keeper } from "./keeper.ts"
import { bootId } from "./keeper-files.ts"
import { ExitRecord, monotonicMs } from "./keeper-words.ts"
import { processorMsOf } from "./processor-time.ts"
import type { Ended, Running } from "./runtime.ts"

const nothingCarried = Effect.succeed<Carried>({ bytes: 0, agoMs: 0 })

const readExit = Schema.decodeUnknownOption(Schema.fromJsonString(ExitRecord))

/** The end that a keeper wrote down in an attempt's folder: there, though the keeper itself may be gone. */
export const exitIn = (folder: string): Effect.Effect<ExitRecord | undefined> =>
  Effect.promise(async () => Option.getOrUndefined(readExit(await readFile(join(folder, "exit.json"), "utf8").catch(() => ""))))

/** Work that a keeper keeps, as its runtime hands it to the agent. */
export const runningIn = (
  keeper: Keeper["Service"],
  { attemptId, carried = nothingCarried, folder, pid, release, startedAtMs }: {
    readonly attemptId: AttemptId
    /** What went over its gang's network, where it may have one. */
    readonly carried?: Effect.Effect<Carried>
    readonly folder: string
    readonly pid: number
    readonly startedAtMs: number
    /** Gives back what the runtime itself took; the keeper forgets the attempt before it. */
    readonly release: Effect.Effect<void>
  }
): Running => ({
  folder,
  startedAt: { bootId: bootId(), hostMs: startedAtMs },
  ended: keeper.wait(attemptId).pipe(
    Effect.flatMap((exit) => exit === undefined ? lostOrNoted(folder) : endedIn(folder, exit)),
    Effect.catchTag("KeeperLost", () => lostOrNoted(folder))
  ),
  doings: Effect.map(Effect.all([saidIn(keeper, attemptId, folder), carried]), ([saidBytes, network]) => {
    const { agoMs, ms } = processorMsOf(pid)
    return { saidBytes, cpuMs: ms, gangBytes: network.bytes, agoMs: Math.max(agoMs, network.agoMs) }
  }),
  extend: (deadlineMs) => Effect.ignore(keeper.extend([{ attemptId, deadlineMs }])),
  stop: Effect.ignore(keeper.stop(attemptId)),
  release: Effect.andThen(keeper.forget(attemptId), release)
})

/**
 * What a keeper knows of an attempt, else what one wrote down of its end. Nothing: no keeper has it, and
 * whatever ran of it was ended when its keeper went.
 */
export const adopted = Effect.fnUntraced(function*(
  keeper: Keeper["Service"],
  at: { readonly attemptId: AttemptId; readonly carried?: Effect.Effect<Carried>; readonly folder: string; readonly release: Effect.Effect<void> }
) {
  const known = yield* Effect.catch(keeper.list, () => Effect.succeed([]))
  const kept = known.find(({ attemptId }) => attemptId === at.attemptId)
  if (kept !== undefined) return Option.some(runningIn(keeper, { ...at, startedAtMs: kept.startedAtMs, pid: kept.pid }))
  const exit = yield* exitIn(at.folder)
  if (exit === undefined || exit.bootId !== bootId()) return Option.none<Running>()
  return Option.some<Running>({
    folder: at.folder,
    startedAt: { bootId: exit.bootId, hostMs: exit.startedAtMs },
    ended: endedIn(at.folder, exit),
    extend: () => Effect.void,
    stop: Effect.void,
    release: at.release
  })
})

const endedIn = (folder: string, exit: ExitRecord): Effect.Effect<Ended> =>
  Effect.map(Effect.all([streamIn(folder, "stdout", exit), streamIn(folder, "stderr", exit)]), (streams): Ended => ({
    ...(exit.code === undefined ? {} : { code: exit.code }),
    ...(exit.signal === undefined ? {} : { signal: exit.signal }),
    ...(exit.cause === "lease_ended" ? { cause: exit.cause } : {}),
    ...(exit.cause === "exited" ? { byItself: true } : {}),
    at: { bootId: exit.bootId, hostMs: exit.endedAtMs },
    output: streams.filter(({ bytes, droppedBytes }) => bytes.length + droppedBytes > 0)
  }))

const streamIn = (folder: string, name: "stdout" | "stderr", exit: ExitRecord) =>
  Effect.promise(async () => ({
    name,
    bytes: await readFile(join(folder, name)).catch(() => Buffer.alloc(0)) as Uint8Array,
    droppedBytes: exit[name].droppedBytes
  }))

/** All that it has said. The files hold it up to their limit; what the keeper counts beyond is asked for where they may have come to it. */
const saidIn = (keeper: Keeper["Service"], attemptId: AttemptId, folder: string): Effect.Effect<number> =>
  Effect.gen(function*() {
    const [stdout = 0, stderr = 0] = yield* Effect.promise(() => Promise.all(["stdout", "stderr"].map((name) => stat(join(folder, name)).then(({ size }) => size, () => 0))))
    if (Math.max(stdout, stderr) < askedFromBytes) return stdout + stderr
    const known = yield* Effect.orElseSucceed(keeper.list, () => [])
    return known.find((one) => one.attemptId === attemptId)?.saidBytes ?? stdout + stderr
  })

/** No runtime keeps less of a stream than this. */
const askedFromBytes = 1024 * 1024

/** The keeper went, and what it kept with it: all that is known of the end is that it is past. */
const lostOrNoted = (folder: string): Effect.Effect<Ended> =>
  Effect.flatMap(exitIn(folder), (exit) =>
    exit === undefined
      ? Effect.sync((): Ended => ({ signal: "SIGKILL", cause: "agent_restarted", at: { bootId: bootId(), hostMs: monotonicMs() }, output: [] }))
      : endedIn(folder, exit))
