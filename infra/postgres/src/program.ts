import { Effect } from "effect"
import { spawn } from "node:child_process"
import type { Account } from "@millrace/bootstrap"

const OUTPUT_BYTES_MAX = 64 * 1024

/** How a program that runs to its end went: its output, and what was wrong, if anything was. */
export interface Ran {
  readonly output: string
  readonly problem: string | undefined
}

/**
 * The identity a child process takes: that of `account`, or our own. A child that changes its user
 * loses our additional groups too.
 */
export const identity = (account: Account | null): { uid?: number; gid?: number } => account === null ? {} : { uid: account.uid, gid: account.gid }

/** Runs a program to its end; past `limitMs`, or when interrupted, it is killed. */
export const run = (command: string, args: ReadonlyArray<string>, options: { readonly as: Account | null; readonly limitMs: number }): Effect.Effect<Ran> =>
  Effect.callback((resume) => {
    let output = ""
    const child = spawn(command, args, { cwd: "/", stdio: ["ignore", "pipe", "pipe"], timeout: options.limitMs, killSignal: "SIGKILL", ...identity(options.as) })
    const hear = (text: string) => {
      output = (output + text).slice(-OUTPUT_BYTES_MAX)
    }
    child.stdout.setEncoding("utf8").on("data", hear)
    child.stderr.setEncoding("utf8").on("data", hear)
    child.on("error", (error) => resume(Effect.succeed({ output, problem: error.message })))
    child.on("close", (code, signal) =>
      resume(Effect.succeed({ output, problem: code === 0 ? undefined : `${command} ended with ${signal ?? `status ${code}`}: ${lastLine(output)}` })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const lastLine = (text: string) => text.trim().split("\n").at(-1) ?? ""
