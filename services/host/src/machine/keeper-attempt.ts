import { type ChildProcess, spawn } from "node:child_process"
import { createWriteStream, mkdirSync, renameSync, rmSync, writeFileSync, type WriteStream } from "node:fs"
import { basename, dirname, join } from "node:path"
import { bootId, endingOf, startOf } from "./keeper-files.ts"
import { endByCgroup, endByCommand, endByEnvironment, signal } from "./keeper-kill.ts"
import { type ExitRecord, type Kept, monotonicMs, type Order } from "./keeper-words.ts"

/** How long a descendant that left the group may hold the output open behind its leader's end. */
const lingerMs = 2_000

/** Node's timers are 32 bits wide; a longer wait is begun again. */
const timerMsMax = 2_000_000_000

/** The work cannot be started: nothing runs. */
export class NotSpawned extends Error {}

/** Work that the keeper started: it is its parent, writes down what it says, and kills it at its deadline. */
export class KeptAttempt {
  readonly order: Order
  readonly over: Promise<ExitRecord>
  readonly #child: ChildProcess
  readonly #startedAtMs = monotonicMs()
  readonly #endFile: string
  readonly #stdout: OutputFile
  readonly #stderr: OutputFile
  #deadlineMs: number
  #timer: NodeJS.Timeout | undefined
  #cause: ExitRecord["cause"] = "exited"
  #exit: ExitRecord | undefined

  /** Starts it. Whoever finds its file in `ends`, where it stands before anything runs, can end it while the keeper is gone. */
  static start(order: Order, ends: string): Promise<KeptAttempt> {
    return new Promise((resolve, reject) => {
      const [command, ...args] = order.argv
      const endFile = join(ends, order.attemptId)
      const cannot = (detail: string) => {
        rmSync(endFile, { force: true })
        reject(new NotSpawned(detail))
      }
      if (command === undefined) return cannot("argv is empty: say what to run")
      // The agent may have stood still since it looked at its lease, and the work may run elsewhere by now.
      if (order.deadlineMs <= monotonicMs()) return cannot("the host's lease was over before it began")
      try {
        mkdirSync(order.folder, { recursive: true, mode: 0o700 })
        rmSync(join(order.folder, "exit.json"), { force: true })
        // Before it runs: a keeper that falls between the two would leave what nobody ends.
        noteEnding(endFile, order, undefined)
        const child = spawn(command, args, { cwd: order.cwd, env: { ...order.env }, detached: true, stdio: ["ignore", "pipe", "pipe"] })
        child.once("spawn", () => resolve(new KeptAttempt(order, child, endFile)))
        child.once("error", (cause: NodeJS.ErrnoException) => cannot(cause.code === "ENOENT" ? `there is no program ${command} here` : cause.message))
      } catch (cause) {
        // What no system could start, such as a word with a zero byte in it, is thrown at once.
        cannot(cause instanceof Error ? cause.message : String(cause))
      }
    })
  }

  private constructor(order: Order, child: ChildProcess, endFile: string) {
    this.order = order
    this.#child = child
    this.#deadlineMs = order.deadlineMs
    this.#endFile = endFile
    noteEnding(endFile, order, child.pid)
    this.#stdout = new OutputFile(child, order, "stdout")
    this.#stderr = new OutputFile(child, order, "stderr")
    this.over = new Promise((resolve) => {
      let giveUp: NodeJS.Timeout | undefined
      child.once("exit", () => {
        // Descendants may outlive their leader and hold its output open; nothing of the attempt does. One that
        // left the group is found by its environment; one that cleared that too no longer holds up the end.
        this.#kill(child.exitCode === null)
        giveUp = setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream?.destroy()), lingerMs)
      })
      child.once("close", (code, signal) => {
        clearTimeout(giveUp)
        clearTimeout(this.#timer)
        const endedAtMs = monotonicMs()
        void Promise.all([this.#stdout.closed(), this.#stderr.closed()]).then(([said, complained]) => {
          const exit: ExitRecord = {
            attemptId: order.attemptId,
            ...(code === null ? {} : { code }),
            ...(signal === null ? {} : { signal }),
            cause: this.#cause,
            bootId: bootId(),
            startedAtMs: this.#startedAtMs,
            endedAtMs,
            stdout: said,
            stderr: complained
          }
          this.#exit = exit
          this.#noteExit(exit)
          resolve(exit)
        })
      })
    })
    this.#arm()
  }

  /** Moves the deadline away, never nearer. */
  extend(deadlineMs: number): void {
    if (deadlineMs <= this.#deadlineMs) return
    this.#deadlineMs = deadlineMs
    this.#arm()
  }

  /** Asks it to end, and ends it after the grace. */
  async stop(graceMs: number): Promise<ExitRecord> {
    if (this.#exit === undefined) {
      this.#because("stopped")
      if (graceMs > 0) this.#askToEnd()
      const kill = setTimeout(() => this.#kill(true), graceMs)
      void this.over.then(() => clearTimeout(kill))
    }
    return this.over
  }

  get listed(): Kept {
    return {
      attemptId: this.order.attemptId,
      pid: this.#child.pid!,
      folder: this.order.folder,
      bootId: bootId(),
      startedAtMs: this.#startedAtMs,
      deadlineMs: this.#deadlineMs,
      saidBytes: this.#stdout.saidBytes + this.#stderr.saidBytes,
      ...(this.#exit === undefined ? {} : { exit: this.#exit })
    }
  }

  get isOver(): boolean {
    return this.#exit !== undefined
  }

  #because(cause: ExitRecord["cause"]): void {
    if (this.#cause === "exited" && this.#child.exitCode === null && this.#child.signalCode === null) this.#cause = cause
  }

  #arm(): void {
    clearTimeout(this.#timer)
    if (this.#exit !== undefined) return
    const leftMs = this.#deadlineMs - monotonicMs()
    this.#timer = setTimeout(() => {
      if (monotonicMs() < this.#deadlineMs) return this.#arm()
      this.#because("lease_ended")
      this.#kill(true)
    }, Math.max(0, Math.min(leftMs, timerMsMax)))
  }

  #askToEnd(): void {
    const { stopWith } = this.order
    if (stopWith === undefined) signal(-this.#child.pid!, "SIGTERM")
    else void endByCommand(stopWith)
  }

  /** All that is left of it. A leader that ended by itself has left nothing that its own command would have to end. */
  #kill(byCommand: boolean): void {
    signal(-this.#child.pid!, "SIGKILL")
    const { attemptId, cgroup, endWith } = this.order
    if (cgroup !== undefined) void endByCgroup(cgroup)
    if (endWith !== undefined && byCommand) void endByCommand(endWith)
    void endByEnvironment(attemptId).catch(() => undefined)
  }

  /** Whole or not at all, and before anybody is told; a full disk costs the record, never the end. */
  #noteExit(exit: ExitRecord): void {
    const path = join(this.order.folder, "exit.json")
    try {
      writeFileSync(`${path}.next`, JSON.stringify(exit), { mode: 0o600 })
      renameSync(`${path}.next`, path)
    } catch (cause) {
      console.error(`${path} cannot be written: ${String(cause)}`)
    }
    rmSync(this.#endFile, { force: true })
  }
}

/** How to end it, whole or not at all. Until its process is known, only its groups and its environment tell whose it is. */
const noteEnding = (path: string, { cgroup, endWith }: Order, pid: number | undefined): void => {
  // Half a file would stop whoever ends all of them, so until it is whole it has a name that is not looked for.
  const draft = join(dirname(path), `.${basename(path)}`)
  try {
    writeFileSync(draft, endingOf({ pid: pid ?? 0, start: pid === undefined ? undefined : startOf(pid), endWith, cgroup }), { mode: 0o600 })
    renameSync(draft, path)
  } catch (cause) {
    // Then only its environment tells whose it is, should the keeper fall.
    console.error(`${path} cannot be written: ${String(cause)}`)
  }
}

/** One stream of output, written down up to its limit. What comes after is counted and dropped, so that a flood costs the writer and not the host. */
class OutputFile {
  readonly #file: WriteStream
  readonly #bytesMax: number
  #bytes = 0
  #droppedBytes = 0
  #broken = false

  constructor(child: ChildProcess, { folder, outputBytesMax }: Order, name: "stdout" | "stderr") {
    this.#bytesMax = outputBytesMax
    const stream = child[name]!
    this.#file = createWriteStream(join(folder, name), { mode: 0o600 })
    this.#file.on("error", (cause) => {
      this.#broken = true
      console.error(`${name} in ${folder} is no longer kept: ${cause.message}`)
      stream.resume()
    })
    this.#file.on("drain", () => stream.resume())
    stream.on("data", (chunk: Buffer) => {
      const room = this.#broken ? 0 : Math.max(0, this.#bytesMax - this.#bytes)
      const kept = chunk.subarray(0, room)
      this.#bytes += kept.length
      this.#droppedBytes += chunk.length - kept.length
      // A slow disk slows the writer.
      if (kept.length > 0 && !this.#file.write(kept)) stream.pause()
    })
    stream.on("error", () => undefined)
  }

  get saidBytes(): number {
    return this.#bytes + this.#droppedBytes
  }

  closed(): Promise<{ readonly bytes: number; readonly droppedBytes: number }> {
    return new Promise((resolve) => {
      const done = () => resolve({ bytes: this.#bytes, droppedBytes: this.#droppedBytes })
      if (this.#broken) return done()
      this.#file.once("error", done)
      this.#file.end(done)
    })
  }
}
