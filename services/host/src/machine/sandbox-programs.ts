import { chmodSync, copyFileSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"

/** Where the work finds programs that the machine itself may not have, behind all others on its PATH. */
export const programsInside = "/opt/millrace/bin"

/**
 * A folder with the Node that runs the agent, under the name `node`: whatever the machine has, work can be
 * written in JavaScript. It lies where a sandbox's own account can pass, which the agent's own may not.
 */
export const layPrograms = (folder: string): string => {
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  chmodSync(folder, 0o755)
  const node = join(folder, "node")
  const own = statSync(process.execPath)
  const laid = statSync(node, { throwIfNoEntry: false })
  if (laid !== undefined && laid.size === own.size && laid.mtimeMs >= own.mtimeMs) return folder
  const draft = `${node}.${process.pid}`
  rmSync(draft, { force: true })
  try {
    linkSync(process.execPath, draft)
  } catch {
    // On another file system, or not ours to link.
    copyFileSync(process.execPath, draft)
    chmodSync(draft, 0o755)
  }
  renameSync(draft, node)
  return folder
}
