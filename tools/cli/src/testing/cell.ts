import { logsLayer, Readiness } from "@millrace/service"
import { Effect, Exit, Fiber } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { startServices } from "../../../dev/src/all-in-one.ts"
import { openDoor } from "../../../dev/src/open-door.ts"
import { startStack, type Stack } from "../../../dev/src/stack.ts"
import { codeOf, running } from "../running.ts"

const bin = resolve(import.meta.dirname, "../../bin/millrace.mjs")
const childMsMax = 60_000

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface TestCell {
  readonly stack: Stack
  readonly folder: string
  readonly stop: () => Promise<void>
}

/** A whole cell in this process, on free ports and in a fresh folder; without services where the test brings its own. */
export const startTestCell = ({ services = true } = {}): Promise<TestCell> => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-cli-"))
  return new Promise((settle, refuse) => {
    const fiber = Effect.runFork(Effect.scoped(Effect.gen(function*() {
      const stack = yield* startStack({ folder, freePorts: true })
      if (services) yield* startServices(stack)
      yield* openDoor(stack)
      settle({
        stack,
        folder,
        stop: async () => {
          await Effect.runPromise(Fiber.interrupt(fiber))
          rmSync(folder, { recursive: true, force: true })
        }
      })
      return yield* Effect.never
    })).pipe(Effect.provide(Readiness.layer), Effect.provide(logsLayer({ format: "json", level: "Error", fields: {} }))))
    fiber.addObserver((exit) => Exit.isFailure(exit) && refuse(new Error(String(exit.cause))))
  })
}

/** The real command as a process of its own; `seen` may act on it as its output comes. */
export const millrace = (
  folder: string,
  args: ReadonlyArray<string>,
  { env = {}, seen }: { readonly env?: Readonly<Record<string, string>>; readonly seen?: (stdout: string, child: ChildProcess) => void } = {}
): Promise<Ran> =>
  new Promise((settle, refuse) => {
    const { MILLRACE_TOKEN: _, MILLRACE_URL: __, ...inherited } = process.env
    const child = spawn(process.execPath, [bin, ...args], { env: { ...inherited, MILLRACE_FOLDER: folder, ...env }, stdio: ["ignore", "pipe", "pipe"], timeout: childMsMax })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
      seen?.(stdout, child)
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text))
    child.on("error", refuse)
    child.on("close", (code, signal) => settle({ code: code ?? -1, stdout, stderr: signal === null ? stderr : `${stderr}\nended by ${signal}` }))
  })

let before: Promise<unknown> = Promise.resolve()

/** The same command in this process, which takes a fraction of the time. One after the other: each is lent this process's outputs. */
export const millraceHere = (folder: string, args: ReadonlyArray<string>, env: Readonly<Record<string, string>> = {}): Promise<Ran> => {
  const mine = before.then(() => lent(folder, args, env))
  before = mine.catch(() => undefined)
  return mine
}

const lent = async (folder: string, args: ReadonlyArray<string>, env: Readonly<Record<string, string>>): Promise<Ran> => {
  const own = { ...process.env }
  const outputs = { stdout: "", stderr: "" }
  const writes = (["stdout", "stderr"] as const).map((name) => {
    const { write } = process[name]
    process[name].write = ((piece: string | Uint8Array, ...rest: ReadonlyArray<unknown>) => {
      outputs[name] += typeof piece === "string" ? piece : Buffer.from(piece).toString("utf8")
      const done = rest.at(-1)
      if (typeof done === "function") done()
      return true
    }) as typeof write
    return () => void (process[name].write = write)
  })
  const { MILLRACE_TOKEN: _, MILLRACE_URL: __, ...inherited } = own
  process.env = { ...inherited, MILLRACE_FOLDER: folder, ...env }
  try {
    const code = codeOf(await Effect.runPromiseExit(running(args) as Effect.Effect<void, unknown>))
    return { code, ...outputs }
  } finally {
    process.env = own
    for (const back of writes) back()
  }
}

/** A value's shape: what is in it replaced by the name of its kind, so that it can be held against a golden one. */
export const shapeOf = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.slice(0, 1).map(shapeOf)
    : value === null
    ? "null"
    : typeof value === "object"
    ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)).map(([key, one]) => [key, shapeOf(one)]))
    : typeof value

export const linesOf = (text: string): ReadonlyArray<string> => text.split("\n").filter((line) => line !== "")
