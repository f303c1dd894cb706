import { Schema } from "effect"
import { closeSync, openSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { basename, dirname } from "node:path"
import { type Answer, AnswerFrame, type Ask, AskFrame, lines } from "./keeper-words.ts"

const writeAsk = Schema.encodeSync(AskFrame)
const readAnswer = Schema.decodeUnknownExit(AnswerFrame)

/** A longer path does not fit into a socket's address. */
const pathBytesMax = 100

interface Pending {
  readonly ask: Ask
  /** Undefined: the keeper is gone and will not answer. */
  readonly answered: (answer: Answer | undefined) => void
}

/** One connection to a keeper, and what is asked over it. */
export class KeeperLine {
  readonly #socket: Socket
  readonly #pending = new Map<number, Pending>()
  #number = 0
  #closed = false
  readonly #onClose = new Set<() => void>()

  private constructor(socket: Socket) {
    this.#socket = socket
    const line = (text: string) => {
      const read = readAnswer(text)
      if (read._tag === "Failure") return void socket.destroy()
      const { answer, number } = read.value
      const pending = this.#pending.get(number)
      this.#pending.delete(number)
      pending?.answered(answer)
    }
    socket.on("data", lines(line, () => socket.destroy()))
    socket.on("error", () => undefined)
    socket.once("close", () => {
      this.#closed = true
      for (const closed of this.#onClose) closed()
    })
  }

  /** Connects within this many ms, or gives nothing. */
  static to(path: string, msMax: number): Promise<KeeperLine | undefined> {
    return new Promise((resolve) => {
      const { address, close } = addressOf(path)
      const socket = connect(address)
      const done = (line: KeeperLine | undefined) => {
        clearTimeout(timer)
        close()
        if (line === undefined) socket.destroy()
        resolve(line)
      }
      const timer = setTimeout(() => done(undefined), msMax)
      socket.once("error", () => done(undefined))
      socket.once("connect", () => done(new KeeperLine(socket)))
    })
  }

  get closed(): boolean {
    return this.#closed
  }

  /** What was asked and not answered. */
  get pending(): ReadonlyArray<Pending> {
    return [...this.#pending.values()]
  }

  /** Told once, when the keeper hangs up; the returned function takes that back. */
  onClose(closed: () => void): () => void {
    if (this.#closed) closed()
    else this.#onClose.add(closed)
    return () => void this.#onClose.delete(closed)
  }

  /** Asks; the returned function takes the question back. */
  ask(ask: Ask, answered: Pending["answered"]): () => void {
    const number = this.#number += 1
    this.#pending.set(number, { ask, answered })
    if (!this.#closed) this.#socket.write(`${writeAsk({ number, ask })}\n`)
    return () => void this.#pending.delete(number)
  }

  /** Asks, and waits this long; a keeper that stands still or hangs up gives nothing. */
  askWithin(ask: Ask, msMax: number): Promise<Answer | undefined> {
    return new Promise((resolve) => {
      const done = (answer: Answer | undefined) => {
        clearTimeout(timer)
        notClosed()
        takeBack()
        resolve(answer)
      }
      const timer = setTimeout(() => done(undefined), msMax)
      const takeBack = this.ask(ask, done)
      const notClosed = this.onClose(() => queueMicrotask(() => done(undefined)))
    })
  }

  close(): void {
    this.#onClose.clear()
    this.#socket.destroy()
  }
}

const addressOf = (path: string): { readonly address: string; readonly close: () => void } => {
  if (Buffer.byteLength(path) <= pathBytesMax) return { address: path, close: () => undefined }
  try {
    const folder = openSync(dirname(path), "r")
    return { address: `/proc/self/fd/${folder}/${basename(path)}`, close: () => closeSync(folder) }
  } catch {
    return { address: path, close: () => undefined }
  }
}
