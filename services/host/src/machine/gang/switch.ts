import { Effect, Queue, Schema, type Scope } from "effect"
import { spawn } from "node:child_process"
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { type AgentHello, framed, switchFiles, type SwitchHere, words } from "./switch-words.ts"

/** The switch does not start. */
export class SwitchFailed extends Schema.TaggedError<SwitchFailed>()("SwitchFailed", { folder: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The switch of this host's gangs does not start in ${this.folder}: ${this.detail}`
  }
}

/** The switch of this host, while an agent keeps it. */
export interface Switch {
  readonly socket: string
  /** Where it takes datagrams of other hosts, as `address:port`. Undefined: it does not. */
  readonly at: string | undefined
  /** Why it does not, where it was to. */
  readonly why: string | undefined
}

const startMsMax = 15_000
const answerMsMax = 5_000
const againMs = 200

/**
 * Keeps a switch for as long as the scope lives: one that an earlier agent left is taken over with all that goes
 * through it, and one that dies is started anew, where the ports find it again. It ends when neither ports nor an
 * agent need it.
 */
export const keepSwitch = Effect.fnUntraced(function*(folder: string, address: string | undefined): Effect.fn.Return<Switch, SwitchFailed, Scope.Scope> {
  const closed = yield* Queue.unbounded<void>()
  let line: Socket | undefined
  const reach = Effect.gen(function*() {
    const found = yield* Effect.tryPromise({
      try: () => reached(folder, address),
      catch: (cause) => new SwitchFailed({ folder, detail: cause instanceof Error ? cause.message : String(cause) })
    })
    line = found.line
    found.line.once("close", () => Queue.offerUnsafe(closed, undefined))
    return found.here
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => line?.destroy()))
  const here = yield* Effect.uninterruptible(reach)
  const again: Effect.Effect<void> = Effect.uninterruptible(reach).pipe(
    Effect.tapError((failure) => Effect.logError(failure.message)),
    Effect.catch(() => Effect.andThen(Effect.sleep(againMs), Effect.suspend(() => again))),
    Effect.asVoid
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(closed), again)))
  return { socket: join(folder, switchFiles.socket), at: here.at, why: here.why }
})

/** A folder that went takes its log along. */
const lastWordsIn = (log: string): string => {
  try {
    return readFileSync(log, "utf8").slice(-500)
  } catch {
    return "it left no log"
  }
}

const pause = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms))

/** The switch that serves this folder, or one that is started for it. */
const reached = async (folder: string, address: string | undefined): Promise<{ readonly line: Socket; readonly here: SwitchHere }> => {
  const found = await asked(folder, address)
  if (found !== undefined) return found
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  rmSync(join(folder, switchFiles.socket), { force: true })
  const log = join(folder, "switch.log")
  const said = openSync(log, "w", 0o600)
  const child = spawn(process.execPath, [fileURLToPath(new URL("./switch-main.ts", import.meta.url)), folder], {
    cwd: folder,
    // Nothing of the agent's: its settings are nothing that what carries other people's packets is to read.
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    detached: true,
    stdio: ["ignore", said, said]
  })
  closeSync(said)
  let failed: string | undefined
  child.once("error", (cause) => void (failed = cause.message))
  child.once("exit", (code, signal) => void (failed = `it ended with ${signal ?? code}: ${lastWordsIn(log)}`))
  child.unref()
  for (const until = performance.now() + startMsMax; failed === undefined && performance.now() < until; await pause(15)) {
    const started = await asked(folder, address)
    if (started !== undefined) return started
  }
  child.kill("SIGKILL")
  throw new Error(failed ?? `it did not answer within ${startMsMax} ms`)
}

const asked = (folder: string, address: string | undefined): Promise<{ readonly line: Socket; readonly here: SwitchHere } | undefined> =>
  new Promise((resolve) => {
    const line = connect(join(folder, switchFiles.socket))
    const done = (here: SwitchHere | undefined) => {
      clearTimeout(timer)
      if (here === undefined) line.destroy()
      resolve(here === undefined ? undefined : { line, here })
    }
    const timer = setTimeout(() => done(undefined), answerMsMax)
    line.on("error", () => undefined)
    line.once("close", () => done(undefined))
    line.once("connect", () => line.write(framed(Buffer.from(JSON.stringify({ kind: "agent", ...(address === undefined ? {} : { address }) } satisfies AgentHello)))))
    line.on("data", words((word) => done(JSON.parse(word.toString("utf8")) as SwitchHere)))
  })
