import { Effect, Queue, Schema, type Scope } from "effect"
import { rmSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { join } from "node:path"
import { endIdentified, startDetached } from "../detached.ts"
import { type AgentHello, framed, switchFiles, type SwitchHere, words } from "./switch-words.ts"

/** The switch does not start. */
export class SwitchFailed extends Schema.TaggedError<SwitchFailed>()("SwitchFailed", { folder: Schema.String, detail: Schema.String }) {
  override get message() {
    return `No gang gets a network on this host: ${this.detail}`
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

interface Reached {
  readonly line: Socket
  readonly here: SwitchHere
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

/** The switch that serves this folder, or one that is started for it. */
const reached = async (folder: string, address: string | undefined): Promise<Reached> => {
  const found = await asked(folder, address)
  if (found !== undefined) return found
  // One that stands still holds its ports: they find each other at the next one when it is gone.
  await endIdentified(join(folder, switchFiles.identity))
  for (const file of [switchFiles.socket, switchFiles.identity]) rmSync(join(folder, file), { force: true })
  return startDetached({
    name: "switch",
    program: new URL("./switch-main.ts", import.meta.url),
    folder,
    log: join(folder, "switch.log"),
    found: () => asked(folder, address),
    startMsMax
  })
}

const asked = (folder: string, address: string | undefined): Promise<Reached | undefined> =>
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
