import { Blobs } from "@millrace/blobs"
import { crashPoint } from "@millrace/journal"
import type { AttemptId, PlacementMade } from "@millrace/schemas"
import { Effect, Option, Semaphore } from "effect"
import { existsSync, readdirSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { constants } from "node:os"
import { join } from "node:path"
import { carriedIn } from "./gang/carried.ts"
import { type GangNetwork, joining } from "./gang/network.ts"
import { snapshotAtEndOf } from "../domain/snapshot.ts"
import type { Keeper } from "./keeper.ts"
import { adopted, runningIn } from "./keeper-running.ts"
import { LocalCopies } from "./local-copies.ts"
import { CannotStart, type Ended, type Running, type Runtime } from "./runtime.ts"
import { fallenFile, placesIn } from "./sandbox-bundle.ts"
import { diskMibOf } from "./sandbox-disk.ts"
import { keepArtefacts, keepSnapshot } from "./sandbox-files.ts"
import { bindSocket, commandLine, end, furnish, type Ground, prepare, release, startedFile } from "./sandbox-ground.ts"
import { groupOf, ranOutOfMemory } from "./sandbox-limits.ts"

const outputBytesMax = 4 * 1024 * 1024
const startMsMax = 60_000
const keepTimes = 3

/** The runtime, which also clears away what no agent knows of. */
export type Sandbox = Runtime & Required<Pick<Runtime, "clear">>

/**
 * Work in a sandbox of gVisor (runsc): its own kernel, its own files, no network but that of its gang, no account of the host's,
 * and limits of memory, processes, processor and disk as the probe found them. The work's argv and environment
 * stand in a file that the agent alone can read.
 *
 * What it takes of the host is given back by `release` and `endOrphan` alone, so that an agent that fell
 * before it told the end finds it all again: output, artefacts, and the files to keep.
 */
export const sandboxRuntime = Effect.fnUntraced(function*(ground: Ground, keeper: Keeper["Service"], network?: GangNetwork) {
  const blobs = yield* Blobs
  const copies = yield* LocalCopies
  const nearby = copies.over(blobs)

  // An agent that is told to stop in between leaves no half of it.
  const releaseOf = (attemptId: string) => Effect.uninterruptible(release(ground, attemptId))

  /** What the runtime knows of an end that the keeper does not. It is collected once, however often the end is asked for. */
  const whole = (made: PlacementMade, running: Running): Running => {
    const inTurn = Semaphore.makeUnsafe(1)
    let known: Ended | undefined
    const once = (ended: Ended) => inTurn.withPermits(1)(Effect.gen(function*() {
      known ??= yield* Effect.provideService(collected(made, ended), Blobs, blobs)
      return known
    }))
    return { ...running, ended: Effect.flatMap(running.ended, (ended) => Effect.uninterruptible(once(ended))) }
  }

  const collected = Effect.fnUntraced(function*(made: PlacementMade, ended: Ended) {
    const { attemptId, spec } = made
    const places = placesIn(join(ground.folder, attemptId))
    // Nobody changes the files while they are read.
    yield* end(ground, attemptId)
    const outOfMemory = ranOutOfMemory(groupOf(ground.controls, attemptId))
    const lastWords = yield* Effect.promise(() => readFile(fallenFile(places), "utf8").catch(() => ""))
    // One that was killed may leave a word there too, and did not fall by itself.
    const fallen = /^(?:panic|fatal error): .*$/mu.exec(lastWords)?.[0]
    if (fallen !== undefined) yield* Effect.logError(`The sandbox of ${attemptId} fell under its work: ${fallen.slice(0, 500)}`)
    const artefacts = yield* kept(`artefacts of ${attemptId}`, keepArtefacts(places))
    const snapshot = spec.snapshotAtEnd === undefined
      ? Option.none()
      : yield* kept(`the files of ${attemptId}`, Effect.provideService(keepSnapshot(places, 2 * diskMibOf(spec.resources.diskMib) * 2 ** 20), Blobs, nearby))
    // Whoever starts from it here has it here.
    if (Option.isSome(snapshot)) yield* copies.isSnapshot(snapshotAtEndOf(made), snapshot.value)
    return {
      ...(fallen === undefined ? bySignal(byBeginning(ended)) : bySignal(ended, "SIGABRT")),
      ...(outOfMemory ? { cause: "out_of_memory" as const } : {}),
      ...(Option.isSome(artefacts) ? { artefacts: artefacts.value } : {}),
      ...(Option.isSome(snapshot) ? { snapshot: snapshot.value } : {})
    }
  })

  const start: Runtime["start"] = Effect.fnUntraced(function*({ deadlineMs, made, program, socket }) {
    const { attemptId, jobId, spec } = made
    const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })
    if (program.argv.length === 0) return yield* cannot("argv is empty: say what to run")
    if (spec.egress !== undefined && spec.egress.length > 0) return yield* cannot("it asks for a network, and this host's sandboxes have none: ask for none")
    if (spec.resources.gpus > 0 || (spec.resources.gpuMilli ?? 0) > 0) return yield* cannot("it asks for a GPU, and this host's sandboxes have none")
    if (spec.startFrom !== undefined && made.from === undefined) return yield* cannot("the placement does not say where the snapshot's bytes are")
    const places = placesIn(join(ground.folder, attemptId))
    const joined = yield* joining(made, network, places.folder)
    const [argv0 = "", ...args] = commandLine(ground, attemptId, joined)
    const kept = yield* prepare(ground, { name: attemptId, program, resources: spec.resources, made, joined, ...(socket === undefined ? {} : { socket }) }).pipe(
      Effect.andThen(Effect.provideService(furnish(ground, made, program), Blobs, nearby)),
      Effect.andThen(made.from === undefined ? Effect.void : copies.isSnapshot(made.from.snapshotId, made.from.blob)),
      Effect.andThen(crashPoint("start work before")),
      Effect.andThen(keeper.spawn({
        attemptId,
        argv: [argv0, ...args],
        env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", MILLRACE_ATTEMPT: attemptId, MILLRACE_JOB: jobId },
        cwd: places.folder,
        folder: places.folder,
        outputBytesMax,
        deadlineMs,
        endWith: endCommand(ground, attemptId),
        ...(ground.controls.kind === "v2" ? { cgroup: groupOf(ground.controls, attemptId).folders[0] ?? "" } : {})
      })),
      Effect.mapError((error) => cannot(error._tag === "CannotStart" ? error.detail : error.message)),
      Effect.tapError(() => releaseOf(attemptId))
    )
    yield* crashPoint("start work after")
    const running = runningIn(keeper, { attemptId, folder: places.folder, pid: kept.pid, startedAtMs: kept.startedAtMs, carried: carriedIn(places.folder), release: releaseOf(attemptId) })
    const exists = yield* Effect.raceFirst(Effect.as(begun(startedFile(places)), true), Effect.as(running.ended, false)).pipe(
      Effect.timeoutOrElse({ duration: startMsMax, orElse: () => Effect.succeed(false) })
    )
    if (exists || existsSync(startedFile(places))) return whole(made, running)
    yield* running.stop
    const said = yield* Effect.promise(() => readFile(join(places.folder, "stderr"), "utf8").catch(() => ""))
    yield* running.release
    return yield* cannot(said.trim().slice(-1000) || "the sandbox did not come to be")
  })

  const endOrphan = (attemptId: AttemptId) =>
    Effect.ignore(keeper.stop(attemptId, 0)).pipe(
      Effect.andThen(keeper.forget(attemptId)),
      Effect.andThen(releaseOf(attemptId))
    )

  return {
    name: "sandbox",
    start,
    adopt: Effect.fnUntraced(function*(made: PlacementMade, socket?: string) {
      const { attemptId } = made
      const { folder } = placesIn(join(ground.folder, attemptId))
      const running = yield* adopted(keeper, { attemptId, folder, carried: carriedIn(folder), release: releaseOf(attemptId) })
      if (Option.isSome(running) && socket !== undefined) yield* bindSocket(ground, attemptId, socket)
      return Option.map(running, (one) => whole(made, one))
    }),
    clear: (alive: ReadonlySet<AttemptId>) =>
      Effect.forEach(attemptsIn(ground).filter((name) => !alive.has(name)), endOrphan, { discard: true }),
    endOrphan
  } as Sandbox
})

/** Whatever of attempts lies on the ground, of any agent of this host. */
const attemptsIn = ({ folder }: Ground): ReadonlyArray<AttemptId> => readdirSync(folder).filter((name) => name.startsWith("att_")) as unknown as ReadonlyArray<AttemptId>

/** For the keeper, and for its guard when it is gone: ends all that is in the groups, and needs nothing of ours to run. */
const endCommand = (ground: Ground, name: string): ReadonlyArray<string> => {
  const { folders } = groupOf(ground.controls, name)
  const script = 'for look in 1 2 3 4 5 6 7 8 9 10; do left=; for folder; do for pid in $(cat "$folder/cgroup.procs"); do left=1; kill -KILL "$pid"; done; done; [ -z "$left" ] && exit; sleep 0.05; done'
  return ["/bin/sh", "-c", script, "sandbox", ...folders]
}

const begun = (file: string): Effect.Effect<void> =>
  Effect.suspend(() => existsSync(file) ? Effect.void : Effect.andThen(Effect.sleep("10 millis"), begun(file)))

const nameOfSignal = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]))

const notBegun = "running container: starting container: "

/** What runsc could not begin, such as a program that is not there, it tells as 128 and in words; shells tell it as 127. */
const byBeginning = (ended: Ended): Ended =>
  ended.code === 128 && ended.output.some(({ bytes, name }) => name === "stderr" && Buffer.from(bytes).toString("utf8", 0, notBegun.length) === notBegun) ? { ...ended, code: 127 } : ended

/** runsc tells an end by signal n as status 128 + n, as shells do: it is told here as that signal. */
const bySignal = (ended: Ended, signal = ended.code === undefined ? undefined : nameOfSignal.get(ended.code - 128)): Ended => {
  if (signal === undefined) return ended
  const { code: _, ...rest } = ended
  return { ...rest, signal }
}

/** What the work left behind goes into the store. A store that is full, or does not answer, costs that, never the end. */
const kept = <A, E, R>(what: string, keeping: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, never, R> =>
  keeping.pipe(
    Effect.retry({ times: keepTimes }),
    Effect.tapError((failure) => Effect.logError(`${what} could not be kept: ${failure instanceof Error ? failure.message : String(failure)}`)),
    Effect.option
  )
