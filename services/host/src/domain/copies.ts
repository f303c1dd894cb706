import type { Digest, SnapshotId } from "@millrace/schemas"

/** A blob of which the host has a copy. */
export interface Copy {
  readonly digest: Digest
  readonly sizeBytes: number
}

/** What a host holds ready, in the order in which it was used last, the longest ago first. */
export interface Copies {
  readonly blobs: ReadonlyMap<Digest, Copy>
  /** Snapshots by the blob that holds their bytes. */
  readonly snapshots: ReadonlyMap<SnapshotId, Digest>
  readonly bytes: number
}

export const noCopies: Copies = { blobs: new Map(), snapshots: new Map(), bytes: 0 }

/** No more copies than this, however small: a folder and a fact stay readable. */
export const copiesMax = 10_000

/** A copy is there, or was used again; what was used longest ago goes until the rest is within the limit. One that is too large alone is not kept. */
export const used = (copies: Copies, copy: Copy, bytesMax: number): { readonly copies: Copies; readonly gone: ReadonlyArray<Copy> } => {
  const { blobs, bytes, snapshots } = without(copies, copy.digest)
  if (copy.sizeBytes > bytesMax) return { copies: { blobs, bytes, snapshots }, gone: [copy] }
  const next = new Map(blobs).set(copy.digest, copy)
  const gone: Array<Copy> = []
  let left = bytes + copy.sizeBytes
  for (const one of next.values()) {
    if (left <= bytesMax && next.size <= copiesMax) break
    next.delete(one.digest)
    left -= one.sizeBytes
    gone.push(one)
  }
  return { copies: { blobs: next, bytes: left, snapshots: new Map([...snapshotsOf(copies, copy.digest), ...snapshots].filter(([, digest]) => next.has(digest))) }, gone }
}

/** A copy is no longer there. */
export const without = (copies: Copies, digest: Digest): Copies => {
  const held = copies.blobs.get(digest)
  if (held === undefined) return copies
  const blobs = new Map(copies.blobs)
  blobs.delete(digest)
  return { blobs, bytes: copies.bytes - held.sizeBytes, snapshots: new Map([...copies.snapshots].filter(([, of]) => of !== digest)) }
}

/** As many ids may one blob have: each fork of unchanged files gives it another. */
const idsMax = 4

/** A snapshot's bytes are those of a blob. Of one that is not held nothing is noted; the oldest id of many goes. */
export const named = (copies: Copies, snapshotId: SnapshotId, digest: Digest): Copies => {
  if (!copies.blobs.has(digest) || copies.snapshots.get(snapshotId) === digest) return copies
  const snapshots = new Map(copies.snapshots).set(snapshotId, digest)
  const ids = snapshotsOf({ ...copies, snapshots }, digest).map(([id]) => id)
  for (const id of ids.slice(0, Math.max(0, ids.length - idsMax))) snapshots.delete(id)
  return { ...copies, snapshots }
}

const snapshotsOf = ({ snapshots }: Copies, digest: Digest): ReadonlyArray<readonly [SnapshotId, Digest]> => [...snapshots].filter(([, of]) => of === digest)

/** As many of each are told to the scheduler, which remembers them of every host: the largest, since they spare the most. */
export const saidMax = 128

/** What is said of it, in an order that says nothing twice. */
export const saidOf = ({ blobs, snapshots }: Copies): { readonly snapshots: ReadonlyArray<SnapshotId>; readonly blobs: ReadonlyArray<Digest>; readonly sizesBytes: ReadonlyArray<number> } => {
  const largest = [...blobs.values()].sort((left, right) => right.sizeBytes - left.sizeBytes || (left.digest < right.digest ? -1 : 1)).slice(0, saidMax)
  const sizes = new Map([...snapshots].map(([id, digest]) => [id, blobs.get(digest)?.sizeBytes ?? 0]))
  return {
    snapshots: [...sizes].sort(([left, leftBytes], [right, rightBytes]) => rightBytes - leftBytes || (left < right ? -1 : 1)).slice(0, saidMax).map(([id]) => id),
    blobs: largest.map(({ digest }) => digest),
    sizesBytes: largest.map(({ sizeBytes }) => sizeBytes)
  }
}

/** Less than this tells nothing of a way's speed. */
const measuredBytesMin = 1024 * 1024

/** The speed of loading after one more load, in bytes a millisecond: the last few count most. */
export const speedAfter = (before: number | undefined, load: { readonly bytes: number; readonly ms: number }): number | undefined => {
  if (load.bytes < measuredBytesMin) return before
  const speed = load.bytes / Math.max(1, load.ms)
  return Math.max(1, Math.round(before === undefined ? speed : before * 0.7 + speed * 0.3))
}
