import { Effect, type Scope } from "effect"
import { fork } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { rounded } from "../figures.ts"
import type { Bench } from "../main.ts"

const usual = { hosts: 10_000, jobs: 1_000_000, tail: 100_000 }
const few = { hosts: 500, jobs: 50_000, tail: 5_000 }
const endsMsMax = 3_600_000

/**
 * What a million running jobs cost the scheduler: they are submitted, folded, decided and placed as in a cell, a hundred
 * on each of 10,000 hosts with 8 GPUs; then its checkpoint is written, and another process starts from it and a tail,
 * and must decide what the first decides. The log is left out: it has figures of its own.
 */
export const bench = ({ quick, say }: Bench): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const { hosts, jobs, tail } = quick ? few : usual
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const run = (what: "fill" | "start") => inProcess([what, folder, String(hosts), String(jobs), String(tail)], (running) => say(`${running} running`))
    const { went, ...filled } = yield* run("fill")
    say("start from the checkpoint and the tail")
    const { went: wentAgain, ...started } = yield* run("start")
    return { hosts, gpus: hosts * 8, jobs, ...roundedAll(filled), start: { ...roundedAll(started), decidesTheSame: went === wentAgain } }
  })

interface Told extends Readonly<Record<string, unknown>> {
  readonly went: string
}

const inProcess = (args: ReadonlyArray<string>, progress: (running: number) => void): Effect.Effect<Told, Error> =>
  Effect.callback<Told, Error>((resume) => {
    const child = fork(fileURLToPath(new URL("./process.ts", import.meta.url)), args, { stdio: ["ignore", "ignore", "inherit", "ipc"] })
    child.on("message", (message: { readonly running?: number; readonly done?: Told }) => {
      if (message.running !== undefined) progress(message.running)
      if (message.done !== undefined) resume(Effect.succeed(message.done))
    })
    child.once("exit", (code, signal) => resume(Effect.fail(new Error(`the process of ${args[0]} ended with ${signal ?? code}`))))
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(Effect.timeoutOrElse({ duration: endsMsMax, orElse: () => Effect.fail(new Error(`${args[0]} took longer than ${endsMsMax} ms`)) }))

const roundedAll = (figures: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(figures).map(([name, value]) => [
    name,
    typeof value === "number" && !Number.isInteger(value) ? rounded(value) : typeof value === "object" && value !== null ? roundedAll(value as Readonly<Record<string, unknown>>) : value
  ]))
