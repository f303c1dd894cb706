import { Schema } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, rmSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import { noteIdentity } from "./detached.ts"
import { KeptAttempt, NotSpawned } from "./keeper-attempt.ts"
import { bootId, guardingScript, keeperFiles } from "./keeper-files.ts"
import { type Answer, AnswerFrame, type Ask, AskFrame, keeperProtocol, lines, type Order } from "./keeper-words.ts"

/** With nothing to keep and no agent for this long the keeper ends: whoever needs one starts one. */
const idleMsMax = 15_000

const endGraceMs = 2_000

const readAsk = Schema.decodeUnknownExit(AskFrame)
const writeAnswer = Schema.encodeSync(AnswerFrame)

/**
 * The parent of all work of one host. It does little, so that it need not be replaced: agents come and go,
 * and what it keeps runs on until it ends, is stopped, or its deadline has come.
 */
export class KeeperProcess {
  readonly #files: ReturnType<typeof keeperFiles>
  readonly #attempts = new Map<string, KeptAttempt>()
  readonly #starting = new Map<string, Promise<Answer>>()
  readonly #agents = new Set<Socket>()
  readonly #server: Server
  #guard: ChildProcess | undefined
  #idle: NodeJS.Timeout | undefined
  #ending = false

  constructor(folder: string) {
    this.#files = keeperFiles(folder)
    this.#server = createServer((agent) => this.#serve(agent))
  }

  /** Listens; from then on an agent finds it. */
  async open(): Promise<void> {
    const { folder, identity } = this.#files
    mkdirSync(this.#files.ends, { recursive: true, mode: 0o700 })
    this.#watchOver()
    // A socket's path may be no longer than about a hundred bytes; seen from here it is short.
    process.chdir(folder)
    rmSync("keeper.sock", { force: true })
    const before = process.umask(0o177)
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject)
      this.#server.listen("keeper.sock", resolve)
    })
    process.umask(before)
    noteIdentity(identity)
    this.#restWhenIdle()
  }

  /** Ends everything that runs, and then itself. */
  async end(graceMs = endGraceMs): Promise<never> {
    this.#ending = true
    await Promise.allSettled(this.#starting.values())
    await Promise.all([...this.#attempts.values()].map((attempt) => attempt.stop(graceMs)))
    this.#guard?.stdin?.end()
    rmSync(this.#files.socket, { force: true })
    rmSync(this.#files.identity, { force: true })
    // What was asked last is answered.
    await Promise.all([...this.#agents].map((agent) => new Promise<void>((resolve) => agent.end(resolve).once("error", () => resolve()))))
    process.exit(0)
  }

  /** A process of little memory that outlives the keeper by a moment, and ends what the keeper can no longer end. */
  #watchOver(): void {
    const guard = spawn("/bin/sh", ["-c", guardingScript, "keeper-guard", this.#files.ends], { detached: true, stdio: ["pipe", "ignore", "ignore"], env: { PATH: "/usr/local/bin:/usr/bin:/bin" } })
    guard.stdin.on("error", () => undefined)
    const again = () => {
      if (!this.#ending) setTimeout(() => this.#watchOver(), 100)
    }
    guard.once("error", again)
    guard.once("exit", again)
    this.#guard = guard
  }

  #serve(agent: Socket): void {
    this.#agents.add(agent)
    clearTimeout(this.#idle)
    agent.on("error", () => undefined)
    agent.once("close", () => {
      this.#agents.delete(agent)
      this.#restWhenIdle()
    })
    const line = (text: string) => {
      const read = readAsk(text)
      // Whoever speaks otherwise is no agent of this version.
      if (read._tag === "Failure") return void agent.destroy()
      const { ask, number } = read.value
      void this.#answer(ask).then((answer) => {
        if (agent.writable) agent.write(`${writeAnswer({ number, answer })}\n`)
        if (ask._tag === "End") void this.end(0)
      })
    }
    agent.on("data", lines(line, () => agent.destroy()))
  }

  async #answer(ask: Ask): Promise<Answer> {
    switch (ask._tag) {
      case "Hello":
        if (this.#ending) return { _tag: "Refused", detail: "this keeper is ending" }
        return { _tag: "Here", protocol: keeperProtocol, pid: process.pid, bootId: bootId() }
      case "Spawn":
        return this.#spawn(ask)
      case "Extend":
        for (const { attemptId, deadlineMs } of ask.deadlines) this.#attempts.get(attemptId)?.extend(deadlineMs)
        return { _tag: "Done" }
      case "List":
        return { _tag: "Known", kept: [...this.#attempts.values()].map(({ listed }) => listed) }
      case "Stop": {
        // Whoever asked for its start may have given up meanwhile: what begins after this would run on.
        await this.#starting.get(ask.attemptId)
        const attempt = this.#attempts.get(ask.attemptId)
        return attempt === undefined ? { _tag: "Unknown" } : { _tag: "Over", exit: await attempt.stop(ask.graceMs) }
      }
      case "Wait": {
        const attempt = this.#attempts.get(ask.attemptId)
        return attempt === undefined ? { _tag: "Unknown" } : { _tag: "Over", exit: await attempt.over }
      }
      case "Forget":
        if (this.#attempts.get(ask.attemptId)?.isOver === true) this.#attempts.delete(ask.attemptId)
        this.#restWhenIdle()
        return { _tag: "Done" }
      case "End":
        this.#ending = true
        await Promise.allSettled(this.#starting.values())
        await Promise.all([...this.#attempts.values()].map((attempt) => attempt.stop(ask.graceMs)))
        return { _tag: "Done" }
    }
  }

  /** Asked again, by an agent that did not hear the answer, it is started once. */
  async #spawn({ order }: Extract<Ask, { _tag: "Spawn" }>): Promise<Answer> {
    const known = this.#attempts.get(order.attemptId)
    if (known !== undefined) return { _tag: "Known", kept: [known.listed] }
    const starting = this.#starting.get(order.attemptId) ?? this.#start(order)
    this.#starting.set(order.attemptId, starting)
    return starting.finally(() => this.#starting.delete(order.attemptId))
  }

  async #start(order: Order): Promise<Answer> {
    if (this.#ending) return { _tag: "Refused", detail: "this host is stopping" }
    try {
      const attempt = await KeptAttempt.start(order, this.#files.ends)
      this.#attempts.set(order.attemptId, attempt)
      void attempt.over.then(() => this.#restWhenIdle())
      return { _tag: "Known", kept: [attempt.listed] }
    } catch (cause) {
      if (cause instanceof NotSpawned) return { _tag: "Refused", detail: cause.message }
      throw cause
    }
  }

  #restWhenIdle(): void {
    clearTimeout(this.#idle)
    const busy = this.#agents.size > 0 || [...this.#attempts.values()].some(({ isOver }) => !isOver)
    if (!busy && !this.#ending) this.#idle = setTimeout(() => void this.end(), idleMsMax)
  }
}
