import { spawn } from "node:child_process"

/**
 * @typedef {object} Outcome
 * @property {number | null} code exit status; null when it was ended by a signal or never started
 * @property {string} output standard output, then standard error; the last 64 KiB of each
 * @property {string} stdout
 * @property {string | undefined} problem why it did not end well, in words; undefined when the status was 0
 *
 * @typedef {object} Limits
 * @property {number} limitMs the command and all it started are killed after this time
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv} [env]
 * @property {number} [uid]
 * @property {number} [gid]
 * @property {(line: string) => void} [onLine] hears each line of output as it comes
 * @property {(pid: number) => void} [onStart]
 */

const OUTPUT_BYTES_MAX = 64 * 1024

/** Groups of the commands that are running now, so that an interrupted run takes them along. @type {Set<number>} */
const running = new Set()

/** Ends every command that is still running, with what it started. */
export const endRunningCommands = () => {
  for (const pid of running) killGroup(pid)
}

/** @param {number} pid */
export const killGroup = (pid) => {
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // It ended by itself in the meantime.
  }
}

/**
 * Runs a command to its end, within a limit, in a process group of its own. Never rejects: a command
 * that cannot be started, fails, or runs too long is told in `problem`.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Limits} limits
 * @returns {Promise<Outcome>}
 */
export const runCommand = (command, args, limits) =>
  new Promise((settle) => {
    const name = [command.split("/").pop(), ...args.slice(0, 1)].join(" ")
    let stdout = ""
    let stderr = ""
    let late = false
    const child = spawn(command, args, {
      cwd: limits.cwd,
      env: limits.env ?? process.env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      ...(limits.uid === undefined ? {} : { uid: limits.uid }),
      ...(limits.gid === undefined ? {} : { gid: limits.gid })
    })
    const { pid } = child
    if (pid !== undefined) {
      running.add(pid)
      limits.onStart?.(pid)
    }
    const timer = setTimeout(() => {
      late = true
      if (pid !== undefined) killGroup(pid)
    }, limits.limitMs)
    /** @param {string} text */
    const hear = (text) => {
      for (const line of text.split("\n")) if (line.trim() !== "") limits.onLine?.(line.trim())
    }
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout = (stdout + text).slice(-OUTPUT_BYTES_MAX)
      hear(text)
    })
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr = (stderr + text).slice(-OUTPUT_BYTES_MAX)
      hear(text)
    })
    /** @param {number | null} code @param {string | undefined} problem */
    const end = (code, problem) => {
      clearTimeout(timer)
      if (pid !== undefined) running.delete(pid)
      settle({ code, stdout, output: stdout + stderr, problem })
    }
    child.on("error", (error) => end(null, `${name} could not be started: ${error.message}`))
    child.on("close", (code, signal) => {
      if (late) return end(code, `${name} did not end within ${Math.round(limits.limitMs / 1000)} s`)
      if (code === 0) return end(code, undefined)
      end(code, `${name} ended with ${signal ?? `status ${code}`}: ${lastWords(stderr || stdout)}`)
    })
  })

/** The last line that says something. @param {string} text */
const lastWords = (text) => text.trim().split("\n").pop()?.trim().slice(0, 300) || "it said nothing"
