import { existsSync } from "node:fs"
import { chmod, readFile, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"

/**
 * How gVisor reads the number of the goroutine that it runs on (pkg/goid, amd64): it takes the goroutine's
 * record from the thread, and the number from a fixed place in that record.
 */
const reading = Buffer.from("644c8b3425f8ffffff4d8bb6", "hex")
const returning = Buffer.from("000000" + "4c89742408c3", "hex")
/** Where the number lies: in Go 1.23 and 1.24, and in Go 1.26, whose record lost a field before it. */
const [placeOf124, placeOf126] = [160, 152]

/**
 * A runsc that was built with Go 1.26 from sources that know Go up to 1.24 takes a neighbouring field for that
 * number. Debian's build of release 20240729 is one. It runs, and then falls ("running on goroutine ...")
 * whenever that field changes: about every second time on a busy machine. Undefined: this is none of those.
 */
export const misreadAt = (binary: Buffer): number | undefined => {
  if (!binary.includes("go1.26.")) return undefined
  const at = binary.indexOf(reading)
  if (at < 0 || binary.indexOf(reading, at + 1) >= 0) return undefined
  const place = at + reading.length
  return binary[place] === placeOf124 && binary.subarray(place + 1).indexOf(returning) === 0 ? place : undefined
}

/** The runsc to use: the one that is there, or a copy of it in `folder` with the one wrong byte put right. */
export const soundRunsc = async (path: string, folder: string): Promise<{ readonly path: string; readonly mended: boolean }> => {
  const binary = await readFile(path)
  const place = misreadAt(binary)
  if (place === undefined) return { path, mended: false }
  binary[place] = placeOf126
  const copy = join(folder, "runsc")
  if (!existsSync(copy) || !binary.equals(await readFile(copy))) {
    await writeFile(`${copy}.next`, binary)
    await chmod(`${copy}.next`, 0o755)
    await rename(`${copy}.next`, copy)
  }
  return { path: copy, mended: true }
}
