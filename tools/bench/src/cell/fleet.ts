import type { AdmissionShape } from "@millrace/journal/admission"
import type { HostId } from "@millrace/schemas"
import { Effect, type Scope } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Order, sharedNowMs, type Word } from "./words.ts"

const admittingMax = 32
const startMsMax = 20_000
const pollMs = 20

/** Hosts in a few processes of their own, so that no single one of them is the wall. */
export interface Fleet {
  readonly pids: ReadonlyArray<number>
  /** The hosts that have been admitted, in order. */
  readonly hosts: ReadonlyArray<HostId>
  /** How many a second were admitted in the last call of `join`. */
  readonly admittedPerS: () => number
  /** How many have connected and listen. */
  readonly joined: () => number
  /** What went wrong with the first host that something went wrong with. */
  readonly failure: () => string | undefined
  /** Lets that many more hosts join; gives up after `msMax`. */
  readonly join: (count: number, msMax: number) => Effect.Effect<void, unknown>
  /** Called for each placement that a host's reactor has handed over. */
  readonly onHeard: (heard: (sequence: number, atMs: number) => void) => void
}

/** Starts the processes; they end with the scope. */
export const startFleet = Effect.fnUntraced(function*(
  { admission, processes, url }: { readonly admission: AdmissionShape; readonly processes: number; readonly url: string }
): Effect.fn.Return<Fleet, unknown, Scope.Scope> {
  const hosts: Array<HostId> = []
  const listeners: Array<(sequence: number, atMs: number) => void> = []
  let joined = 0
  let made = 0
  let admittedPerS = 0
  let failure: string | undefined
  const children: Array<ChildProcess> = []
  for (let index = 0; index < processes; index += 1) children.push(yield* child(url))
  const waitingForKeys = new Map<ChildProcess, (hosts: ReadonlyArray<{ readonly hostId: HostId; readonly publicKey: string }>) => void>()
  for (const started of children) {
    started.on("message", (word: Word) => {
      if (word.what === "joined") joined += 1
      else if (word.what === "failed") failure ??= word.detail
      else if (word.what === "heard") word.sequences.forEach((sequence, at) => listeners.forEach((heard) => heard(sequence, word.atMs[at]!)))
      else if (word.what === "made") waitingForKeys.get(started)?.(word.hosts)
    })
    started.once("exit", (code, signal) => {
      failure ??= `a process of hosts ended by itself (${signal ?? code})`
    })
  }
  const tell = (to: ChildProcess, order: Order): void => void to.send(order)

  const keysOf = (to: ChildProcess, numbers: ReadonlyArray<number>) =>
    Effect.callback<ReadonlyArray<{ readonly hostId: HostId; readonly publicKey: string }>>((resume) => {
      waitingForKeys.set(to, (hosts) => resume(Effect.succeed(hosts)))
      tell(to, { what: "make", numbers })
    })

  const join = (count: number, msMax: number): Effect.Effect<void, unknown> =>
    Effect.gen(function*() {
      const wanted = joined + count
      const shares = children.map((to, index) => {
        const numbers: Array<number> = []
        for (let number = made; number < made + count; number += 1) if (number % children.length === index) numbers.push(number)
        return { to, numbers }
      })
      made += count
      const asks = (yield* Effect.forEach(shares, ({ numbers, to }) =>
        Effect.map(keysOf(to, numbers), (keys) => keys.map((host) => ({ to, host }))), { concurrency: "unbounded" })).flat()
      // Turn by turn over the processes, as hosts come from everywhere.
      asks.sort((left, right) => (left.host.hostId < right.host.hostId ? -1 : 1))
      const fromMs = sharedNowMs()
      const from = hosts.length
      yield* Effect.forEach(asks, ({ host, to }) =>
        Effect.map(admission.admitHost(host), ({ jwt }) => {
          hosts.push(host.hostId)
          admittedPerS = ((hosts.length - from) / (sharedNowMs() - fromMs)) * 1000
          tell(to, { what: "enter", hostId: host.hostId, jwt })
        }), { concurrency: admittingMax, discard: true })
      while (joined < wanted && failure === undefined) yield* Effect.sleep(pollMs)
    }).pipe(Effect.timeoutOption(msMax), Effect.asVoid)

  return {
    pids: children.map(({ pid }) => pid ?? 0),
    hosts,
    admittedPerS: () => admittedPerS,
    joined: () => joined,
    failure: () => failure,
    join,
    onHeard: (heard) => void listeners.push(heard)
  }
})

const child = (url: string): Effect.Effect<ChildProcess, unknown, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ChildProcess>((resume) => {
      const started = fork(fileURLToPath(new URL("./host-process.ts", import.meta.url)), [url], { serialization: "advanced", stdio: ["ignore", "ignore", "inherit", "ipc"] })
      started.once("message", () => resume(Effect.succeed(started)))
    }).pipe(Effect.timeout(startMsMax)),
    (started) => Effect.callback<void>((resume) => {
      if (started.exitCode !== null || started.signalCode !== null) return resume(Effect.void)
      started.once("exit", () => resume(Effect.void))
      started.kill("SIGKILL")
    })
  )
