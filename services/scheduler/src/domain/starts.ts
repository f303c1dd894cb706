import type { Starts } from "@millrace/packing"
import type { HostState, JobState, World } from "./world.ts"

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
