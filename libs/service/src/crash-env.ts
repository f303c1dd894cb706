import { appendFileSync, readFileSync } from "node:fs"
import { CrashPoints } from "@millrace/journal"
import { Effect, Layer } from "effect"

/** `MILLRACE_CRASH_AT`: a point's name, and at which passing of it, counted from 1. */
export interface CrashAt {
  readonly point: string
  readonly passing: number
}

/** `append JobSubmitted before#2` is the second passing of that point; without `#n`, the first. */
export const parseCrashAt = (text: string): CrashAt => {
  const match = /^(.*)#([1-9][0-9]{0,8})$/su.exec(text)
  return match === null ? { point: text, passing: 1 } : { point: match[1] ?? "", passing: Number(match[2]) }
}

/**
 * What `MILLRACE_CRASH_AT` says now. `@<path>` looks into a file at each point, so that a process is armed while it
 * runs; each line of it names one point, and the first that is passed is the one.
 */
const wantedIn = (crashAt: string): (() => ReadonlyArray<CrashAt>) => {
  if (!crashAt.startsWith("@")) {
    const wanted = [parseCrashAt(crashAt)]
    return () => wanted
  }
  return () => {
    try {
      return readFileSync(crashAt.slice(1), "utf8").trim().split("\n").map(parseCrashAt)
    } catch {
      // No file: not armed yet.
      return []
    }
  }
}

/** Whether faults are allowed here, where to die, and where to write down each place that was passed. */
export interface CrashSettings {
  readonly faults: boolean
  readonly crashAt: string | undefined
  readonly crashLog: string | undefined
}

/**
 * Places to die, chosen from outside, for fault tests over real processes: kills this process with SIGKILL
 * at the named point, so that nothing is given back, flushed or said; and writes each point's name to
 * a file when it is first passed, and `died at` it where it died. Both only where `MILLRACE_FAULTS=1`; otherwise nothing listens.
 */
export const crashPointsLayer = ({ crashAt, crashLog, faults }: CrashSettings): Layer.Layer<never> => {
  if (!faults || (crashAt === undefined && crashLog === undefined)) return Layer.empty
  const wantedNow = crashAt === undefined ? () => [] : wantedIn(crashAt)
  const note = (point: string) => crashLog === undefined ? undefined : appendFileSync(crashLog, `${point}\n`)
  const passed = new Set<string>()
  /** How often it was passed while it was a place to die. */
  const passings = new Map<string, number>()
  return Layer.succeed(CrashPoints, (point: string) =>
    Effect.suspend(() => {
      if (!passed.has(point)) note(point)
      passed.add(point)
      const wanted = wantedNow().find((one) => one.point === point)
      if (wanted === undefined) return Effect.void
      const passing = (passings.get(point) ?? 0) + 1
      passings.set(point, passing)
      if (passing !== wanted.passing) return Effect.void
      note(`died at ${point}`)
      process.kill(process.pid, "SIGKILL")
      // The signal may take a moment to arrive; nothing behind this point may run meanwhile.
      return Effect.never
    }))
}
