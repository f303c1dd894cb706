import { closeSync, constants, openSync, readSync } from "node:fs"
import { type Xid, xidIn } from "../domain/gpu-symptoms.ts"

/** No record of the kernel's is longer. Source: Documentation/ABI/testing/dev-kmsg. */
const recordBytesMax = 8192
/** Of a log that floods, so many records are read at once. */
const recordsMax = 20_000

/** The driver's errors in the kernel's log, and the last record that was read. */
export interface KernelErrors {
  readonly xids: ReadonlyArray<Xid>
  readonly sequence: number
}

/**
 * Reads the kernel's log (`/dev/kmsg`, a record a read: `6,339,5140900,-;text`) from behind a record on. A log
 * that cannot be read, or is not there, has no errors. Source: Documentation/ABI/testing/dev-kmsg.
 */
export const kernelErrors = (path: string, behind: number): KernelErrors => {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return { xids: [], sequence: behind }
  }
  const buffer = Buffer.alloc(recordBytesMax)
  const xids: Array<Xid> = []
  let sequence = behind
  let rest = ""
  try {
    for (let read = 0; read < recordsMax; read += 1) {
      const bytes = readOne(file, buffer)
      if (bytes === 0) break
      const lines = (rest + buffer.toString("utf8", 0, bytes)).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        const number = Number(/^\d+,(\d+),\d+,/u.exec(line)?.[1] ?? Number.NaN)
        if (!(number > sequence)) continue
        sequence = number
        const xid = xidIn(line)
        if (xid !== undefined) xids.push(xid)
      }
    }
  } finally {
    closeSync(file)
  }
  return { xids, sequence }
}

/** Nothing more for now is 0. A record that was written over while it was read is passed over. */
const readOne = (file: number, buffer: Buffer): number => {
  for (let overwritten = 0; overwritten < 100; overwritten += 1) {
    try {
      return readSync(file, buffer, 0, buffer.length, null)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EPIPE") return 0
    }
  }
  return 0
}
