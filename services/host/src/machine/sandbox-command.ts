import { Effect } from "effect"
import { execFile } from "node:child_process"

/** What a command of the machine said and how it ended. */
export interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const outputBytesMax = 1024 * 1024

/**
 * Runs a command of the machine to its end, for at most `limitMs`; one that takes longer is killed and has
 * code 124, one that could not be run has code 127. It inherits no environment.
 */
export const command = (file: string, args: ReadonlyArray<string>, limitMs: number): Effect.Effect<Said> =>
  Effect.callback((resume) => {
    const child = execFile(file, args, { env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }, timeout: limitMs, killSignal: "SIGKILL", maxBuffer: outputBytesMax }, (failure, stdout, stderr) => {
      const code = failure === null ? 0 : failure.killed === true ? 124 : typeof failure.code === "number" ? failure.code : failure.signal === undefined || failure.signal === null ? 127 : 137
      resume(Effect.succeed({ code, stdout, stderr: code === 127 && stderr === "" ? failure?.message ?? "" : stderr }))
    })
    child.stdin?.end()
    return Effect.sync(() => void child.kill("SIGKILL"))
  })
