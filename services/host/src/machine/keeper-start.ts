import { spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { endIdentified, startDetached } from "./detached.ts"
import { bootId, endingScript, keeperFiles } from "./keeper-files.ts"
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

/** The keeper that serves this folder, if it answers and speaks as we do. */
export const findKeeper = async (folder: string): Promise<FoundKeeper | undefined> => {
  const line = await KeeperLine.to(keeperFiles(folder).socket, connectMsMax)
  if (line === undefined) return undefined
  const here = await line.askWithin({ _tag: "Hello" }, answerMsMax)
  if (here?._tag === "Here" && here.protocol === keeperProtocol && here.bootId === bootId()) return { line, pid: here.pid }
  line.close()
  return undefined
}

/** Starts a keeper, once nothing of an earlier one runs any more. */
export const startKeeper = async (folder: string): Promise<FoundKeeper> => {
  await endEarlier(folder)
  return startDetached({
    name: "keeper",
    program: new URL("./keeper-main.ts", import.meta.url),
    folder,
    log: keeperFiles(folder).log,
    found: () => findKeeper(folder),
    startMsMax
  })
}

/** Ends a keeper that does not answer, and whatever an earlier one left running. */
export const endEarlier = async (folder: string): Promise<void> => {
  const { ends, identity, socket } = keeperFiles(folder)
  // It stands still. Its guard ends what it kept, and the script below does too.
  await endIdentified(identity)
  spawnSync("/bin/sh", ["-c", endingScript, "keeper-end", ends], { stdio: "ignore", timeout: 60_000, env: { PATH: "/usr/local/bin:/usr/bin:/bin" } })
  rmSync(socket, { force: true })
  rmSync(identity, { force: true })
}
