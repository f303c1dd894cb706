import { createInbox, errors, type NatsConnection, type Status } from "@nats-io/transport-node"
import type { CommitRefused } from "../journal.ts"
import { reasonOf } from "./connect.ts"
import { onStatus } from "./connection-events.ts"
import { asHeaders, headerBlock, statusIn } from "./headers.ts"

/** What became of one message. `Unknown` means that it may lie in the log or not: whoever sent it looks. */
export type Answer =
  | { readonly _tag: "Stored"; readonly stream: string; readonly sequence: number }
  /** The expectation did not hold. The sequence found is missing where the server does not know it yet. */
  | { readonly _tag: "Behind"; readonly found: number | undefined }
  | { readonly _tag: "Refused"; readonly reason: CommitRefused["reason"]; readonly detail: string }
  | { readonly _tag: "Unknown"; readonly detail: string }

interface Sent {
  readonly subject: string
  readonly untilMs: number
  readonly answered: (answer: Answer) => void
}

interface Waiting {
  readonly subject: string
  readonly headers: Uint8Array
  readonly body: Uint8Array
  readonly answered: (answer: Answer) => void
}

export interface PublisherOptions {
  /** Messages that may be under way at once; what comes on top waits here, in order. */
  readonly windowMax?: number
  /** When an answer that has not come counts as lost, in ms. */
  readonly timeoutMs?: number
}

/**
 * The one pipelined publisher: one wildcard inbox for all answers, a map from number to whoever waits, and
 * one timer for all time-outs, since every wait is equally long and so the oldest always ends first. Costs
 * the client about a sixth of the CPU of a request for each message.
 */
export class Publisher {
  readonly #connection: NatsConnection
  readonly #inbox: string
  readonly #windowMax: number
  readonly #timeoutMs: number
  readonly #sent = new Map<number, Sent>()
  #waiting: Array<Waiting> = []
  #waitingFrom = 0
  #number = 0
  #timer: NodeJS.Timeout | undefined
  readonly #unsubscribe: () => void
  #closed = false

  constructor(connection: NatsConnection, { timeoutMs = 5_000, windowMax = 1_024 }: PublisherOptions = {}) {
    this.#connection = connection
    this.#windowMax = windowMax
    this.#timeoutMs = timeoutMs
    this.#inbox = `${createInbox((connection as unknown as { readonly options: { readonly inboxPrefix?: string } }).options.inboxPrefix)}.`
    const subscription = connection.subscribe(`${this.#inbox}*`, {
      callback: (error, message) => {
        if (error !== null) return this.#forgetAll({ _tag: "Refused", reason: "not_permitted", detail: error.message })
        const number = Number(message.subject.slice(this.#inbox.length))
        const sent = this.#sent.get(number)
        // An answer that nobody waits for came after its time-out; whoever asked has looked by now.
        if (sent === undefined) return
        this.#sent.delete(number)
        sent.answered(message.data.length === 0 ? emptyAnswer(headerBlock(message)) : answerOf(message.data))
        this.#next()
      }
    })
    const unheard = onStatus(connection, (status) => this.#heard(status))
    this.#unsubscribe = () => {
      unheard()
      subscription.unsubscribe()
    }
  }

  /** Messages sent and not answered yet. */
  get inFlight(): number {
    return this.#sent.size
  }

  /** Sends, or queues behind what is under way. `answered` is called exactly once. */
  send(subject: string, headers: Uint8Array, body: Uint8Array, answered: (answer: Answer) => void): void {
    if (this.#closed) return answered({ _tag: "Unknown", detail: "the connection is closed" })
    if (this.#sent.size >= this.#windowMax || this.#waitingFrom < this.#waiting.length) this.#waiting.push({ subject, headers, body, answered })
    else this.#transmit(subject, headers, body, answered)
  }

  /** Sends a message that nobody answers, in order with the others: the inner members of a batch. */
  sendUnanswered(subject: string, headers: Uint8Array, body: Uint8Array): void {
    this.#connection.publish(subject, body, { headers: asHeaders(headers) })
  }

  /** Lets go of everything; what is under way stays unknown. */
  close(): void {
    this.#closed = true
    this.#unsubscribe()
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#forgetAll({ _tag: "Unknown", detail: "the connection is closed" })
  }

  #transmit(subject: string, headers: Uint8Array, body: Uint8Array, answered: (answer: Answer) => void): void {
    this.#number += 1
    const number = this.#number
    this.#sent.set(number, { subject, untilMs: performance.now() + this.#timeoutMs, answered })
    try {
      this.#connection.publish(subject, body, { reply: this.#inbox + number, headers: asHeaders(headers) })
      this.#timer ??= setTimeout(() => this.#expire(), this.#timeoutMs)
    } catch (cause) {
      this.#sent.delete(number)
      answered(thrown(cause))
    }
  }

  #next(): void {
    while (this.#waitingFrom < this.#waiting.length && this.#sent.size < this.#windowMax) {
      const { answered, body, headers, subject } = this.#waiting[this.#waitingFrom]!
      this.#waitingFrom += 1
      if (this.#waitingFrom === this.#waiting.length || this.#waitingFrom === 1_024) {
        this.#waiting.splice(0, this.#waitingFrom)
        this.#waitingFrom = 0
      }
      this.#transmit(subject, headers, body, answered)
    }
  }

  #expire(): void {
    this.#timer = undefined
    const nowMs = performance.now()
    for (const [number, sent] of this.#sent) {
      if (sent.untilMs > nowMs) {
        this.#timer = setTimeout(() => this.#expire(), sent.untilMs - nowMs + 1)
        break
      }
      this.#sent.delete(number)
      sent.answered({ _tag: "Unknown", detail: `no answer within ${this.#timeoutMs} ms` })
    }
    this.#next()
  }

  #forgetAll(answer: Answer): void {
    const sent = [...this.#sent.values()]
    this.#sent.clear()
    for (const { answered } of sent) answered(answer)
    if (!this.#closed) return this.#next()
    const waiting = this.#waiting.slice(this.#waitingFrom)
    this.#waiting = []
    this.#waitingFrom = 0
    for (const { answered } of waiting) answered(answer)
  }

  /**
   * A refusal by permission comes with no reply, and an answer to a lost connection never comes. Nor does one
   * to what was sent between two connections: the client drops it when it dials.
   */
  #heard(status: Status): void {
    if (status.type === "disconnect" || status.type === "reconnect" || status.type === "close") this.#forgetAll({ _tag: "Unknown", detail: "the connection was lost" })
    if (status.type === "error" && status.error instanceof errors.PermissionViolationError && status.error.operation === "publish") {
      this.#refuse(status.error.subject, status.error.message)
    }
  }

  #refuse(subject: string, detail: string): void {
    for (const [number, sent] of this.#sent) {
      if (sent.subject !== subject) continue
      this.#sent.delete(number)
      sent.answered({ _tag: "Refused", reason: "not_permitted", detail })
    }
    this.#next()
  }
}

const thrown = (cause: unknown): Answer =>
  cause instanceof errors.InvalidArgumentError
    ? { _tag: "Refused", reason: "too_large", detail: cause.message }
    : cause instanceof errors.InvalidSubjectError
    ? { _tag: "Refused", reason: "not_configured", detail: cause.message }
    : { _tag: "Unknown", detail: reasonOf(cause) }

const emptyAnswer = (block: string): Answer =>
  ({ _tag: "Unknown", detail: statusIn(block) === 503 ? "no stream listens right now" : `an empty answer with status ${statusIn(block)}` })

/**
 * Reads an acknowledgement. A success is `{"stream":"S","seq":7}`, perhaps with more behind; it is read
 * without a JSON parser, because there is one for every message. Anything else is rare and parsed.
 */
export const answerOf = (bytes: Uint8Array): Answer => {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")
  if (text.startsWith('{"stream":"')) {
    const end = text.indexOf('"', 11)
    const at = text.indexOf('"seq":', end)
    const sequence = at < 0 ? 0 : Number.parseInt(text.slice(at + 6), 10)
    if (sequence > 0) return { _tag: "Stored", stream: text.slice(11, end), sequence }
  }
  return carefully(text)
}

interface Acknowledgement {
  readonly stream?: string
  readonly seq?: number
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string }
}

const carefully = (text: string): Answer => {
  try {
    const { error, seq = 0, stream = "" } = JSON.parse(text) as Acknowledgement
    if (error === undefined) return seq > 0 ? { _tag: "Stored", stream, sequence: seq } : { _tag: "Unknown", detail: `an answer without a sequence: ${text.slice(0, 200)}` }
    return errorAnswer(error.err_code ?? 0, error.code ?? 500, error.description ?? "no reason given")
  } catch {
    return { _tag: "Unknown", detail: `an answer that is not JSON: ${text.slice(0, 200)}` }
  }
}

/** JetStream's error codes, from https://github.com/nats-io/nats-server/blob/main/server/errors.json. */
const errorAnswer = (errCode: number, code: number, description: string): Answer => {
  switch (errCode) {
    case 10071: {
      const found = /(\d+)$/u.exec(description)?.[1]
      return { _tag: "Behind", found: found === undefined ? undefined : Number(found) }
    }
    // At three replicas: a write under the same expectation is under way, and nobody knows yet who wins.
    case 10164:
      return { _tag: "Behind", found: undefined }
    // A server that was full, or restarted, or has too many batches open lost members of this one: it stored
    // none of it, and takes it whole when it is sent again.
    case 10176:
    case 10210:
      return { _tag: "Unknown", detail: `${description} (${errCode})` }
    case 10054:
    case 10097:
      return { _tag: "Refused", reason: "too_large", detail: description }
    case 10047:
    case 10028:
    case 10023:
    case 10002:
      return { _tag: "Refused", reason: "log_full", detail: description }
    case 10077:
      return description.includes("maximum") ? { _tag: "Refused", reason: "log_full", detail: description } : { _tag: "Unknown", detail: description }
    default:
      return code >= 500 || code === 429
        ? { _tag: "Unknown", detail: `${description} (${errCode})` }
        : { _tag: "Refused", reason: "not_configured", detail: `${description} (${errCode})` }
  }
}
