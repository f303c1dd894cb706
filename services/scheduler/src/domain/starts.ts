import { type Request, startMsOf, type Starts } from "@millrace/packing"
import type { HostId } from "@millrace/schemas"
import { fits } from "./resources.ts"
import type { HostState, JobState, TaskState, World } from "./world.ts"

/** What a host that has not measured it reads in a millisecond from where state is kept, as long as no other has: 100 MiB a second, which is what one stream of an object store gives. */
const loadedBytesPerMs = 104_858

/** What hosts have measured that hold something ready, on average. */
const usualSpeed = ({ index: { loading: { bytesPerMs, hosts } } }: World): number => hosts === 0 ? loadedBytesPerMs : Math.max(1, Math.floor(bytesPerMs / hosts))

/** What a job reads when it begins, by id or digest, with its bytes. What is not known yet takes no time. */
const readBy = (world: World, job: JobState): ReadonlyArray<readonly [id: string, bytes: number]> => {
  const { reads, startFrom } = job.submitted!.fact.spec
  const kept = startFrom === undefined ? undefined : world.snapshots.get(startFrom)
  return [
    ...(startFrom === undefined || kept?.stands !== "available" ? [] : [[startFrom, kept.blob.sizeBytes] as const]),
    ...(reads?.images ?? []).map((image) => [image, world.images.get(image) ?? 0] as const),
    ...(reads?.blobs ?? []).map(({ digest, sizeBytes }) => [digest, sizeBytes] as const)
  ]
}

/** How long a job takes to begin: on hosts that hold some of what it reads, and on any other. Undefined where it is the same on all. */
export const startsOf = (world: World, job: JobState): Starts | undefined => {
  const { reads, startFrom } = job.submitted!.fact.spec
  if (reads === undefined && startFrom === undefined) return undefined
  const read = readBy(world, job)
  const all = read.reduce((sum, [, bytes]) => sum + bytes, 0)
  const spared = new Map<HostState, number>()
  for (const [id, bytes] of read) for (const host of world.index.residents.get(id) ?? []) spared.set(host, (spared.get(host) ?? 0) + bytes)
  if (spared.size === 0) return undefined
  const usual = usualSpeed(world)
  return { usualMs: msOf(all, usual), at: new Map([...spared].map(([host, bytes]) => [host.id, msOf(all - bytes, host.loadBytesPerMs ?? usual)])) }
}

/** So many hosts that hold what a job reads are looked at, in the order of their ids. */
const holdersMax = 64

/** A busy host on which a job would begin sooner than on any that has room, and until when it waits for that. */
export interface Sooner {
  readonly host: HostState
  readonly startMs: number
  readonly untilMs: number
}

/**
 * Where waiting for room and loading the rest takes less time than loading everything where there is room now: on a host
 * that holds what is read, and on which enough must have ended soon (by `runMsMax`). Nobody waits longer for it than the
 * loading would take, and nobody for what should have ended and has not.
 */
export const soonerElsewhere = (world: World, job: JobState, request: Request, loadingMs: number, atMs: number, isOpen: (host: HostState) => boolean): Sooner | undefined => {
  const patienceEndsMs = (job.waitingSinceMs ?? atMs) + loadingMs
  const starts = patienceEndsMs <= atMs ? undefined : startsOf(world, job)
  if (starts === undefined) return undefined
  const sooner = [...starts.at].sort(([left], [right]) => (left < right ? -1 : 1)).slice(0, holdersMax).flatMap(([id, loadMs]): ReadonlyArray<Sooner> => {
    const host = world.hosts.get(id as HostId)!
    const freeAtMs = isOpen(host) ? roomAtMs(world, host, request) : undefined
    if (freeAtMs === undefined || freeAtMs <= atMs) return []
    const startMs = startMsOf({ freeAtMs, loadMs }, atMs)
    return startMs < loadingMs ? [{ host, startMs, untilMs: Math.min(freeAtMs, patienceEndsMs) }] : []
  })
  if (sooner.length === 0) return undefined
  // Asked last: it looks at every host there is.
  const able = new Set(world.index.fleet.able(request))
  return sooner.sort((left, right) => left.startMs - right.startMs || (left.host.id < right.host.id ? -1 : 1)).find(({ host }) => able.has(host))
}

/** When so much of what runs on a host must have ended that a request has room there; never where its end is not known. */
const roomAtMs = ({ index: { fleet } }: World, host: HostState, { cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Request): number | undefined => {
  const ends = [...host.holds].map(([attemptId, { task }]) => ({ attemptId, atMs: endsAtMs(task) })).sort((left, right) => left.atMs - right.atMs || (left.attemptId < right.attemptId ? -1 : 1))
  for (const [at, { atMs }] of ends.entries()) {
    if (!Number.isFinite(atMs)) return undefined
    const free = fleet.freeWithout(host, ends.slice(0, at + 1).map(({ attemptId }) => attemptId))
    if (fits({ cpuMilli, memoryMib, diskMib, gpus }, free) && gpuMilli <= free.largestMilli) return atMs
  }
  return undefined
}

const endsAtMs = (task: TaskState | undefined): number => {
  const runMsMax = task?.job.submitted?.fact.spec.runMsMax
  return task?.current === undefined || runMsMax === undefined ? Number.POSITIVE_INFINITY : task.current.atMs + runMsMax
}

const msOf = (bytes: number, bytesPerMs: number): number => Math.ceil(bytes / bytesPerMs)

/** A host holds other things ready than before, or loads the rest at another speed. */
export const residentChanged = (world: World, host: HostState, resident: ReadonlySet<string>, loadBytesPerMs?: number): void => {
  const { loading, residents } = world.index
  loading.bytesPerMs += (loadBytesPerMs ?? 0) - (host.loadBytesPerMs ?? 0)
  loading.hosts += (loadBytesPerMs === undefined ? 0 : 1) - (host.loadBytesPerMs === undefined ? 0 : 1)
  host.loadBytesPerMs = loadBytesPerMs
  for (const id of host.resident) {
    const hosts = residents.get(id)
    hosts?.delete(host)
    if (hosts?.size === 0) residents.delete(id)
  }
  host.resident = resident
  for (const id of resident) residents.set(id, (residents.get(id) ?? new Set()).add(host))
}
