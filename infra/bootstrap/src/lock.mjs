import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { killGroup } from "./command.mjs"

const POLL_MS = 200
const WAIT_MS_MAX = 20 * 60_000

/**
 * When a process was started, in the kernel's own unit, so that a number used again is not taken for
 * the old process. Where the system does not tell, the number alone has to do.
 * @param {number} pid
 */
const startOf = (pid) => {
  try {
    // Field 22, counted behind the name, which may hold spaces and brackets itself.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop()?.split(" ")[19] ?? ""
  } catch {
    return ""
  }
}

/** @param {number} pid */
const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "EPERM"
  }
}

/** @param {string} text @returns {{ pid: number, start: string } | undefined} */
const processIn = (text) => {
  const found = /^(\d+) (\d*)$/.exec(text.trim())
  return found ? { pid: Number(found[1]), start: found[2] ?? "" } : undefined
}

/** @param {{ pid: number, start: string }} process */
const lives = ({ pid, start }) => isAlive(pid) && (start === "" || startOf(pid) === start)

/** @param {string} path */
const textOf = (path) => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

/** @param {number} pid */
const named = (pid) => `${pid} ${startOf(pid)}\n`

/**
 * @typedef {object} Lock
 * @property {(pid: number) => void} child names the command that works under this lock, so that whoever finds the lock of a killed run can end that command too
 * @property {() => void} release
 */

/**
 * Takes the one lock of a home folder. A lock whose holder is dead is taken over, after ending the
 * command that holder left behind; a living holder is waited for, at most 20 minutes.
 * @param {string} home
 * @param {(holder: number) => void} onWait told once when somebody else holds it
 * @returns {Promise<Lock>}
 */
export const takeLock = async (home, onWait) => {
  mkdirSync(home, { recursive: true })
  const path = join(home, "bootstrap.lock")
  const child = join(home, "bootstrap.child")
  const mine = `${path}.${process.pid}`
  const until = Date.now() + WAIT_MS_MAX
  let told = false
  writeFileSync(mine, named(process.pid))
  try {
    for (;;) {
      try {
        // A link appears whole or not at all, so nobody ever reads a lock that is half written.
        linkSync(mine, path)
        endLeftBehind(child)
        return {
          child: (pid) => writeFileSync(child, named(pid)),
          release: () => {
            rmSync(child, { force: true })
            rmSync(path, { force: true })
          }
        }
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error
      }
      const text = textOf(path)
      if (text === undefined) continue
      const holder = processIn(text)
      if (holder === undefined || !lives(holder)) {
        setAside(path, text)
        continue
      }
      if (Date.now() > until) throw new Error(`Another bootstrap (process ${holder.pid}) has held ${path} for 20 minutes: end it, then run this again.`)
      if (!told) onWait(holder.pid)
      told = true
      await sleep(POLL_MS)
    }
  } finally {
    rmSync(mine, { force: true })
  }
}

/**
 * Removes a dead lock. Two may try at once: the rename lets one of them win, and if what it moved is
 * not the dead lock but a fresh one, it is put back.
 * @param {string} path
 * @param {string} dead
 */
const setAside = (path, dead) => {
  const aside = `${path}.dead.${process.pid}`
  try {
    renameSync(path, aside)
    if (textOf(aside) !== dead) linkSync(aside, path)
  } catch {
    // Somebody else was quicker; the next look at the lock decides.
  }
  try {
    unlinkSync(aside)
  } catch {
    // Nothing was moved.
  }
}

/** @param {string} child */
const endLeftBehind = (child) => {
  const left = processIn(textOf(child) ?? "")
  if (left !== undefined && left.start !== "" && lives(left)) killGroup(left.pid)
  rmSync(child, { force: true })
}
