import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { within } from "./within.ts"

const root = resolve(import.meta.dirname, "../..")
/** Kept between runs: what is killed writes nothing there, and what ends kindly for the first time writes all of it. */
const compiled = join(root, ".millrace", "compiled")
const endMsMax = 120_000
const readyMsMax = 90_000
const linesKept = 40
/** A service that dies more often than this has another trouble than the one it was given. */
const livesMax = 200
/** So begins the line that a process writes where it dies. */
const death = "died at "

export const serviceNames = ["gateway", "scheduler", "access", "metering", "broker", "snapshots", "host"] as const
export type ServiceName = typeof serviceNames[number]

/** How one process of a service lived: where it passed, what it said, and how it ended. */
export interface Life {
  readonly pid: number
  /** The crash points that it passed, each once. */
  readonly passed: () => ReadonlyArray<string>
  /** The crash point where it died, if it died at one. */
  readonly diedAt: () => string | undefined
  /** Its last lines. */
  readonly said: ReadonlyArray<string>
  readonly ended: () => { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined
}

/** A service as a real process that is started again whenever it dies. */
export interface Supervised {
  /** Tells it from others of its service. */
  readonly name: string
  readonly service: ServiceName
  readonly lives: ReadonlyArray<Life>
  readonly life: () => Life
  /**
   * Dies at these points, one a life, in whichever order it passes them: the running one is armed at once, each of
   * its followers at its start with what is left.
   */
  readonly armed: (...points: ReadonlyArray<string>) => void
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Sends the running one a signal and waits for nothing, as for SIGSTOP and SIGCONT. */
  readonly signal: (signal: NodeJS.Signals) => void
  /** Waits for the end of a life. */
  readonly ended: (life: Life, msMax?: number) => Effect.Effect<void>
  /** Waits until the newest life answers `/readyz` with 200. */
  readonly ready: Effect.Effect<void>
  /** Ends it (SIGTERM unless told otherwise) and starts no other until `start`. */
  readonly stop: (signal?: NodeJS.Signals) => Effect.Effect<void>
  readonly start: Effect.Effect<void>
}

export interface SupervisedOptions {
  readonly service: ServiceName
  /** The service's own name, unless told. */
  readonly name?: string
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  /** Points where it dies from its first life on, one a life. */
  readonly dyingAt?: ReadonlyArray<string>
}

/**
 * Runs a service's `main.ts` as an operating system's supervisor would, for as long as the scope lives:
 * it starts it again after every death, and ends what runs when the scope closes.
 */
export const supervised = ({ dyingAt = [], env, folder, service, name = service }: SupervisedOptions): Effect.Effect<Supervised, never, Scope.Scope> =>
  Effect.gen(function*() {
    const armFile = join(folder, `${name}.armed`)
    const lives: Array<Life & { readonly child: ChildProcess; readonly health: () => string | undefined }> = []
    let arms: ReadonlyArray<string> = dyingAt
    let wanted = true

    const arm = () => {
      if (arms.length === 0) return rmSync(armFile, { force: true })
      // A process looks there whenever it passes a point: it must find the whole list or the one before it.
      writeFileSync(`${armFile}.new`, arms.join("\n"))
      renameSync(`${armFile}.new`, armFile)
    }

    const begin = () => {
      arm()
      const log = join(folder, `${name}.${lives.length + 1}.points`)
      const child = spawn(process.execPath, [join(root, "services", service, "src", "main.ts")], {
        env: {
          PATH: process.env["PATH"],
          ...env,
          NODE_COMPILE_CACHE: compiled,
          MILLRACE_LOG_FORMAT: "json",
          MILLRACE_STOP_WITHIN: "5 seconds",
          MILLRACE_FAULTS: "1",
          MILLRACE_CRASH_AT: `@${armFile}`,
          MILLRACE_CRASH_LOG: log
        },
        stdio: ["ignore", "ignore", "pipe"]
      })
      const said: Array<string> = []
      let health: string | undefined
      let ended: ReturnType<Life["ended"]>
      let rest = ""
      child.stderr!.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n")
        rest = lines.pop() ?? ""
        for (const line of lines) {
          health ??= /"message":"health is served".*"address":"([^"]+)"/u.exec(line)?.[1]
          said.push(line)
          if (said.length > linesKept) said.shift()
        }
      })
      child.once("exit", (code, signal) => {
        ended = { code, signal }
        const diedAt = lives.at(-1)?.diedAt()
        arms = arms.filter((point) => point !== diedAt)
        if (wanted && lives.length < livesMax) begin()
      })
      const noted = () => existsSync(log) ? readFileSync(log, "utf8").split("\n").filter((line) => line !== "") : []
      lives.push({
        child,
        pid: child.pid ?? 0,
        said,
        health: () => health,
        ended: () => ended,
        passed: () => noted().filter((line) => !line.startsWith(death)),
        diedAt: () => noted().find((line) => line.startsWith(death))?.slice(death.length)
      })
    }

    const newest = () => lives.at(-1)!
    const end = (signal: NodeJS.Signals) =>
      Effect.suspend(() => {
        const life = newest()
        life.child.kill(signal)
        return gone(life)
      })
    const gone = (life: Life, msMax = endMsMax) =>
      within(msMax, () => life.ended() !== undefined, () => `${name} (${life.pid}) did not end; it passed ${life.passed().slice(-3).join(", ")} and said\n${life.said.join("\n")}`)

    yield* Effect.acquireRelease(Effect.sync(begin), () => {
      wanted = false
      return newest().ended() === undefined ? Effect.asVoid(end("SIGKILL")) : Effect.void
    })
    return {
      name,
      service,
      lives,
      life: newest,
      armed: (...points) => {
        arms = points
        arm()
      },
      kill: (signal) => Effect.asVoid(end(signal)),
      signal: (signal) => void newest().child.kill(signal),
      ended: gone,
      ready: within(readyMsMax, () => answersReady(newest().health()), () => `${name} did not get ready; its lives ended with ${lives.slice(0, -1).map(lastWords).join("; ") || "nothing"}, and the newest said\n${newest().said.join("\n")}`),
      stop: (signal = "SIGTERM") => Effect.suspend(() => {
        wanted = false
        return end(signal)
      }),
      start: Effect.sync(() => {
        wanted = true
        begin()
      })
    }
  })

const lastWords = ({ diedAt, ended, said }: Life): string =>
  diedAt() ?? `${ended()?.signal ?? ended()?.code} (${said.at(-1) ?? "no word"})`

const answersReady = async (address: string | undefined): Promise<boolean> =>
  address !== undefined && await fetch(`${address}/readyz`, { signal: AbortSignal.timeout(2_000) }).then(async (answer) => {
    await answer.arrayBuffer()
    return answer.ok
  }, () => false)
