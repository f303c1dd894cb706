import { deriveId, timeOfId } from "@millrace/decider"
import type { AttemptId, BlobRef, MillFact, SnapshotId, WorkspaceName } from "@millrace/schemas"
import type { Placed, TaskState, World } from "./world.ts"

/** A snapshot as far as a job that starts from it minds: on its way, or there. */
export type Kept =
  | { readonly stands: "planned"; readonly workspace: WorkspaceName }
  | { readonly stands: "available"; readonly workspace: WorkspaceName; readonly blob: BlobRef; readonly of?: AttemptId; readonly atMs?: number }

/** The newest that is kept of what an attempt did. */
export interface KeptOf {
  readonly snapshotId: SnapshotId
  readonly blob: BlobRef
  readonly atMs: number
}

/** Takes in what the snapshots' service said; gives the snapshot's id when something changed. */
export const evolveSnapshots = ({ gone, index: { keptOf }, snapshots }: World, event: MillFact, atMs: number): string | undefined => {
  switch (event._tag) {
    case "SnapshotPlanned":
      if (snapshots.has(event.snapshotId) || gone.has(event.snapshotId)) return undefined
      snapshots.set(event.snapshotId, { stands: "planned", workspace: event.workspace })
      return event.snapshotId
    case "SnapshotAvailable":
      if (gone.has(event.snapshotId)) return undefined
      snapshots.set(event.snapshotId, { stands: "available", workspace: event.workspace, blob: event.blob, ...(event.attemptId === undefined ? {} : { of: event.attemptId, atMs }) })
      noteKept(keptOf, snapshots.get(event.snapshotId), event.snapshotId)
      return event.snapshotId
    case "SnapshotAbandoned":
    case "SnapshotExpired":
      forgetKept(keptOf, snapshots.get(event.snapshotId), event.snapshotId)
      snapshots.delete(event.snapshotId)
      gone.add(event.snapshotId)
      return event.snapshotId
    default:
      return undefined
  }
}

/** Notes whose work a snapshot holds, if that is known. */
export const noteKept = (keptOf: Map<AttemptId, Set<string>>, kept: Kept | undefined, id: string): void => {
  if (kept?.stands === "available" && kept.of !== undefined) keptOf.set(kept.of, (keptOf.get(kept.of) ?? new Set()).add(id))
}

const forgetKept = (keptOf: Map<AttemptId, Set<string>>, kept: Kept | undefined, id: string): void => {
  if (kept?.stands !== "available" || kept.of === undefined) return
  const ids = keptOf.get(kept.of)
  ids?.delete(id)
  if (ids?.size === 0) keptOf.delete(kept.of)
}

/** The newest that there is of an attempt's work; of several of one moment the last by id. */
export const newestOf = ({ index: { keptOf }, snapshots }: World, attemptId: AttemptId): KeptOf | undefined => {
  let newest: KeptOf | undefined
  for (const id of keptOf.get(attemptId) ?? []) {
    const kept = snapshots.get(id)
    if (kept?.stands !== "available" || kept.atMs === undefined) continue
    if (newest === undefined || kept.atMs > newest.atMs || (kept.atMs === newest.atMs && id > newest.snapshotId)) newest = { snapshotId: id as SnapshotId, blob: kept.blob, atMs: kept.atMs }
  }
  return newest
}

/** When what an attempt has done was last kept: before anything was, when it was placed. */
export const keptAtMs = (world: World, { atMs, attemptId }: Pick<Placed, "atMs" | "attemptId">): number => Math.max(atMs, newestOf(world, attemptId)?.atMs ?? atMs)

/**
 * So long is waited for files that are being stored: what is written at an attempt's end is read to its end once more,
 * which takes minutes for 100 GiB. Whoever would say that they are there, or will not come, may be down for longer.
 */
export const keptWaitMs = 600_000

/** The same in words. */
export const keptWait = `${keptWaitMs / 60_000} minutes`

/**
 * What a task waits for before it begins again: of one whose last attempt gave way, the files that this left behind,
 * which are stored and verified after its end. Whether they come or not is said, and waited for no longer than `keptWaitMs`.
 */
export const awaitedOf = (world: World, { attempt, current, gaveWayIn, job }: TaskState): SnapshotId | undefined => {
  if (current !== undefined || gaveWayIn?.[0]?.attempt !== attempt || job.submitted?.fact.spec.snapshotAtEnd === undefined) return undefined
  const id = snapshotAtEndOf(gaveWayIn[0].attemptId)
  return world.snapshots.get(id)?.stands === "available" || world.gone.has(id) ? undefined : id
}

/** From when a task may begin again. */
export const beginsAgainMs = (world: World, task: TaskState): number => task.notBeforeMs + (awaitedOf(world, task) === undefined ? 0 : keptWaitMs)

/** Of a task that begins without what it left last: that this was waited for, and what it goes on from instead. */
export const goesWithout = (world: World, task: TaskState): string | undefined => {
  const awaited = awaitedOf(world, task)
  if (awaited === undefined) return undefined
  const from = startOf(world, task)?.snapshotId
  return `the files that it left last (${awaited}) were not said to be stored within ${keptWait}: it ${from === undefined ? "begins anew" : `goes on from ${from}`}`
}

/**
 * What a task goes on from: what was kept of the attempt that gave way last, or of the one before it where that left
 * nothing, else what its job starts from. The members of a gang go on from what all of them had at the same time, or none does.
 */
export const startOf = (world: World, task: TaskState): Pick<KeptOf, "snapshotId" | "blob"> | undefined => {
  const { gang, startFrom } = task.job.submitted!.fact.spec
  const members = gang === undefined ? [task] : [...task.job.tasks.values()]
  for (const { attempt, attemptId } of task.gaveWayIn ?? []) {
    const left = newestOf(world, attemptId)
    if (left !== undefined && members.every((member) => member === task || leftIn(world, member, attempt))) return left
  }
  const kept = startFrom === undefined ? undefined : world.snapshots.get(startFrom)
  return startFrom === undefined || kept?.stands !== "available" ? undefined : { snapshotId: startFrom, blob: kept.blob }
}

const leftIn = (world: World, { gaveWayIn = [] }: TaskState, attempt: number): boolean =>
  gaveWayIn.some((one) => one.attempt === attempt && newestOf(world, one.attemptId) !== undefined)

/** The snapshot of the files that an attempt leaves behind when it ends: its id follows from the attempt's. */
export const snapshotAtEndOf = (attemptId: AttemptId): SnapshotId => deriveId<SnapshotId>("snp", timeOfId(attemptId), attemptId, "end")
