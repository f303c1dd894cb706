import { Effect } from "effect"
import { openSync, readFileSync, writeSync } from "node:fs"
import { join } from "node:path"

/** What was said over a gang's network to and by one member, until so many ms ago. */
export interface Carried {
  readonly bytes: number
  readonly agoMs: number
}

/** A port tells what it carried no more often than this, in ms, and no later. */
const tellEveryMs = 500

/** Where a member's port tells what it carried. */
export const carriedFile = (folder: string): string => join(folder, "carried")

/**
 * Counts what a port carries, in a file that outlives it: eight bytes that are written at once. A disk that is full costs
 * the count and not the network.
 */
export const carriedTo = (path: string): (bytes: number) => void => {
  const file = openSync(path, "w", 0o600)
  const told = Buffer.alloc(8)
  let sum = 0n
  let waiting: NodeJS.Timeout | undefined
  const tell = () => {
    waiting = undefined
    told.writeBigUInt64LE(sum)
    try {
      writeSync(file, told, 0, told.length, 0)
    } catch (cause) {
      console.error(`${path} cannot be written: ${String(cause)}`)
    }
  }
  return (bytes) => {
    if (bytes <= 0) return
    sum += BigInt(bytes)
    waiting ??= setTimeout(tell, tellEveryMs)
  }
}

/** What the port of the member with this folder has carried. Without one: nothing. */
export const carriedIn = (folder: string): Effect.Effect<Carried> => Effect.sync(() => {
  try {
    const told = readFileSync(carriedFile(folder))
    return { bytes: told.length < 8 ? 0 : Number(told.readBigUInt64LE()), agoMs: tellEveryMs }
  } catch {
    return { bytes: 0, agoMs: 0 }
  }
})
