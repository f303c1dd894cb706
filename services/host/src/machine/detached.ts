import { spawn } from "node:child_process"
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { bootId, startOf } from "./keeper-files.ts"

/** What is started to outlive who starts it. */
export interface Detached<A> {
  /** What a person calls it. */
  readonly name: string
  /** Its main file, which is told the folder that it serves. */
  readonly program: URL
  /** Where it works. Made, for nobody else to enter, when it is not there. */
  readonly folder: string
  /** Where its words go; those of an earlier one are gone then. */
  readonly log: string
  /** Whether it answers yet. Asked again and again until it does. */
  readonly found: () => Promise<A | undefined>
  readonly startMsMax: number
}

const againMs = 15
const wordsMax = 500
const goneMsMax = 2_000

const pause = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms))

/**
 * Starts a program of ours in a session of its own, so that what ends its agent does not end it, and waits until it answers.
 * One that does not in time is ended. It finds nothing of the agent's in its environment: settings there may name what no
 * work, and nothing that carries other people's packets, is to read.
 */
export const startDetached = async <A>({ folder, found, log, name, program, startMsMax }: Detached<A>): Promise<A> => {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const said = openSync(log, "w", 0o600)
  const child = spawn(process.execPath, [fileURLToPath(program), folder], {
    cwd: folder,
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    detached: true,
    stdio: ["ignore", said, said]
  })
  closeSync(said)
  let failed: string | undefined
  child.once("error", (cause) => void (failed = cause.message))
  child.once("exit", (code, signal) => void (failed = `it ended with ${signal ?? code}`))
  child.unref()
  for (const until = performance.now() + startMsMax; failed === undefined && performance.now() < until; await pause(againMs)) {
    const answered = await found()
    if (answered !== undefined) return answered
  }
  child.kill("SIGKILL")
  throw new Error(`the ${name} did not start in ${folder}: ${failed ?? `it did not answer within ${startMsMax} ms`}. Its words: ${lastWordsIn(log)}`)
}

/** A folder that went takes its log along. */
const lastWordsIn = (log: string): string => {
  try {
    return readFileSync(log, "utf8").slice(-wordsMax)
  } catch {
    return "it left no log"
  }
}

/** Writes down which process this is, so that whoever finds it standing still can end it and nobody else. */
export const noteIdentity = (path: string): void => {
  writeFileSync(`${path}.next`, JSON.stringify({ pid: process.pid, start: startOf(process.pid), bootId: bootId() }), { mode: 0o600 })
  renameSync(`${path}.next`, path)
}

/** Ends the process that wrote this down, if it is still that one, and waits until it is gone, for a while. */
export const endIdentified = async (path: string): Promise<void> => {
  const noted = identityIn(path)
  if (noted === undefined || noted.bootId !== bootId()) return
  const isThere = (): boolean => startOf(noted.pid) === noted.start
  if (!isThere()) return
  try {
    process.kill(noted.pid, "SIGKILL")
  } catch {
    // It has gone by itself.
  }
  for (const until = performance.now() + goneMsMax; isThere() && performance.now() < until;) await pause(10)
}

const identityIn = (path: string): { readonly pid: number; readonly start: string; readonly bootId: string } | undefined => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return undefined
  }
}
