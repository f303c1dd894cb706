import { spawn, spawnSync } from "node:child_process"
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { bootId, endingScript, keeperFiles, startOf } from "./keeper-files.ts"
import { KeeperLine } from "./keeper-line.ts"
import { keeperProtocol } from "./keeper-words.ts"

const connectMsMax = 2_000
const answerMsMax = 5_000
const startMsMax = 30_000

/** A keeper that was found or started, and the line to it. */
export interface FoundKeeper {
  readonly line: KeeperLine
  readonly pid: number
}

const pause = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms))

/** The keeper that serves this folder, if it answers and speaks as we do. */
export const findKeeper = async (folder: string): Promise<FoundKeeper | undefined> => {
  const line = await KeeperLine.to(keeperFiles(folder).socket, connectMsMax)
  if (line === undefined) return undefined
  const here = await line.askWithin({ _tag: "Hello" }, answerMsMax)
  if (here?._tag === "Here" && here.protocol === keeperProtocol && here.bootId === bootId()) return { line, pid: here.pid }
  line.close()
  return undefined
}

/** Starts a keeper, once nothing of an earlier one runs any more. It lives in a session of its own, so what ends its agent does not end it. */
export const startKeeper = async (folder: string): Promise<FoundKeeper> => {
  await endEarlier(folder)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { log } = keeperFiles(folder)
  const said = openSync(log, "w", 0o600)
  const child = spawn(process.execPath, [fileURLToPath(new URL("./keeper-main.ts", import.meta.url)), folder], {
    cwd: folder,
    // Nothing of the agent's: its settings may name what no work, and no child of work, is to read.
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    detached: true,
    stdio: ["ignore", said, said]
  })
  closeSync(said)
  let failed: string | undefined
  child.once("error", (cause) => void (failed = cause.message))
  child.once("exit", (code, signal) => void (failed = `it ended with ${signal ?? code}`))
  child.unref()
  const until = performance.now() + startMsMax
  while (failed === undefined && performance.now() < until) {
    const found = await findKeeper(folder)
    if (found !== undefined) return found
    await pause(15)
  }
  child.kill("SIGKILL")
  throw new Error(`the keeper did not start in ${folder}: ${failed ?? `it did not answer within ${startMsMax} ms`}. Its words: ${tail(log)}`)
}

/** Ends a keeper that does not answer, and whatever an earlier one left running. */
export const endEarlier = async (folder: string): Promise<void> => {
  const { ends, identity, socket } = keeperFiles(folder)
  const earlier = identityIn(identity)
  if (earlier !== undefined && earlier.bootId === bootId() && startOf(earlier.pid) === earlier.start) {
    // It stands still. Its guard ends what it kept, and the script below does too.
    signalled(earlier.pid)
    for (let look = 0; look < 200 && startOf(earlier.pid) === earlier.start; look += 1) await pause(10)
  }
  spawnSync("/bin/sh", ["-c", endingScript, "keeper-end", ends], { stdio: "ignore", timeout: 60_000, env: { PATH: "/usr/local/bin:/usr/bin:/bin" } })
  rmSync(socket, { force: true })
  rmSync(identity, { force: true })
}

const signalled = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It is gone.
  }
}

const identityIn = (path: string): { readonly pid: number; readonly start: string; readonly bootId: string } | undefined => {
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return undefined
  }
}

const tail = (path: string): string => {
  try {
    return readFileSync(path, "utf8").slice(-500)
  } catch {
    return ""
  }
}
