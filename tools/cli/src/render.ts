import { inLine } from "./print.ts"

/** How values are shown to people. What a cell of another version leaves out is shown as `-`, what it adds is shown too. */

export const orDash = (value: unknown): string => (value === null || value === undefined || value === "" ? "-" : String(value))

export const timeText = (atMs: number | null | undefined): string => (atMs === null || atMs === undefined ? "-" : new Date(atMs).toISOString())

/** A length of time in two units at most: `950 ms`, `12.4 s`, `3 m 5 s`, `2 h 10 m`. */
export const spanText = (ms: number): string => {
  if (ms < 1_000) return `${ms} ms`
  if (ms < 60_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} m ${Math.floor((ms % 60_000) / 1_000)} s`
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} m`
}

export const bytesText = (bytes: number): string =>
  bytes < 1024 ? `${bytes} B` : bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(1)} KiB` : bytes < 1024 ** 3 ? `${(bytes / 1024 ** 2).toFixed(1)} MiB` : `${(bytes / 1024 ** 3).toFixed(1)} GiB`

/** Names and values that line up, a line each. */
export const fieldsText = (fields: ReadonlyArray<readonly [name: string, value: string]>): string => {
  const width = Math.max(12, ...fields.map(([name]) => name.length)) + 2
  return fields.map(([name, value]) => `${name.padEnd(width)}${inLine(value)}`).join("\n")
}

/** A number of ms above this is a moment, not a length of time: 2001. */
const momentsFromMs = 1_000_000_000_000

/** Every field of a value, by its own name: `resources.cpuMilli`; moments as times. */
export const allFields = (value: Readonly<Record<string, unknown>>, before = ""): ReadonlyArray<readonly [name: string, value: string]> =>
  Object.entries(value).flatMap(([name, one]): ReadonlyArray<readonly [string, string]> => {
    const path = `${before}${name}`
    if (typeof one === "object" && one !== null && !Array.isArray(one)) return allFields(one as Readonly<Record<string, unknown>>, `${path}.`)
    if (Array.isArray(one)) return [[path, one.length === 0 ? "none" : one.map((each) => (typeof each === "object" ? JSON.stringify(each) : String(each))).join(", ")]]
    return [[path, typeof one === "number" && name.endsWith("Ms") && one > momentsFromMs ? timeText(one) : orDash(one)]]
  })
