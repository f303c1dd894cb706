import { createInbox, type Msg, type NatsConnection, type Subscription } from "@nats-io/transport-node"
import { onStatus } from "./connection-events.ts"
import { headerBlock, headerIn, statusIn } from "./headers.ts"

/** What the server says about a delivery, in the reply subject of each message. */
export interface Delivery {
  readonly sequence: number
  /** Counts this consumer's deliveries without a gap. */
  readonly delivered: number
  /** How often this message has been delivered, from 1. */
  readonly times: number
  readonly storedAtMs: number
}

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<delivered>.<ns>.<pending>`, or the longer form with
 * domain and account before the stream
 * (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md).
 */
export const deliveryIn = (reply: string): Delivery | undefined => {
  if (!reply.startsWith("$JS.ACK.")) return undefined
  const tokens = reply.split(".")
  const at = tokens.length === 9 ? 4 : 6
  const [times, sequence, delivered, ns] = [tokens[at], tokens[at + 1], tokens[at + 2], tokens[at + 3]]
  if (ns === undefined) return undefined
  return { times: Number(times), sequence: Number(sequence), delivered: Number(delivered), storedAtMs: Number(ns.slice(0, -6)) }
}

/** What came over a pull: a message with its place, or the news that nothing more will come this way. */
export interface PullHandler {
  readonly message: (message: Msg, delivery: Delivery) => void
  /** A request ran out with nothing to give. Until somebody wants more, nothing more comes. */
  readonly ranOut: () => void
  /** The consumer is gone, or nobody answers for it. Called at most once. */
  readonly broken: (why: string) => void
}

export interface PullOptions {
  readonly connection: NatsConnection
  readonly apiPrefix: string
  readonly stream: string
  readonly consumer: string
  /** Messages that may be asked for and not yet here. */
  readonly outstandingMax: number
  /** After how long without a word, not even a heartbeat, the pull counts as broken, in ms. */
  readonly silenceMs: number
  /** How long the server keeps a request open that it has nothing to give for, in ms. 30,000 unless told. */
  readonly expiresMs?: number
}

/**
 * Pulls from one consumer, by hand: asks for as many messages as there is room for and hands each over in
 * its callback. Whoever owns it says how much room there is, so nothing gathers beyond that.
 */
export class Pull {
  readonly #options: PullOptions
  readonly #handler: PullHandler
  readonly #inbox: string
  readonly #subscription: Subscription
  readonly #unheard: () => void
  #outstanding = 0
  #heardAtMs = performance.now()
  #over = false

  constructor(options: PullOptions, handler: PullHandler) {
    this.#options = options
    this.#handler = handler
    this.#inbox = createInbox((options.connection as unknown as { readonly options: { readonly inboxPrefix?: string } }).options.inboxPrefix)
    this.#subscription = options.connection.subscribe(this.#inbox, {
      callback: (error, message) => (error === null ? this.#received(message) : this.#break(error.message))
    })
    // What was asked for over the old connection was asked for by nobody whom the server still knows.
    this.#unheard = onStatus(options.connection, ({ type }) => {
      if (type === "reconnect") this.#break("the connection was lost in between")
    })
  }

  /** Asks for messages so that at most `room` are on their way. Small steps are saved up. */
  want(room: number): void {
    const { apiPrefix, connection, consumer, expiresMs = 30_000, outstandingMax, silenceMs, stream } = this.#options
    const batch = Math.min(room, outstandingMax) - this.#outstanding
    if (this.#over || batch <= 0 || (this.#outstanding > 0 && batch < outstandingMax / 4)) return
    if (this.#outstanding === 0) this.#heardAtMs = performance.now()
    this.#outstanding += batch
    connection.publish(
      `${apiPrefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
      JSON.stringify({ batch, expires: expiresMs * 1e6, idle_heartbeat: Math.floor(Math.min(silenceMs, expiresMs) / 3) * 1e6 }),
      { reply: this.#inbox }
    )
  }

  /** To be called now and then: notices that a pull has gone silent. */
  check(): void {
    if (this.#outstanding > 0 && performance.now() - this.#heardAtMs > this.#options.silenceMs) this.#break(`not a word for ${this.#options.silenceMs} ms`)
  }

  stop(): void {
    this.#over = true
    this.#unheard()
    this.#subscription.unsubscribe()
  }

  #received(message: Msg): void {
    if (this.#over) return
    this.#heardAtMs = performance.now()
    if (message.subject === this.#inbox) return this.#status(message)
    const delivery = deliveryIn(message.reply ?? "")
    if (delivery === undefined) return
    this.#outstanding = Math.max(0, this.#outstanding - 1)
    this.#handler.message(message, delivery)
  }

  #status(message: Msg): void {
    const block = headerBlock(message)
    const status = statusIn(block)
    const line = block.slice(9, block.indexOf("\r\n"))
    if (status === 100) return
    // One request has ended: by its time, or because the leader moved. What it still had to give is asked anew.
    if (status === 404 || status === 408 || /leadership change|max waiting|batch completed|server shutdown/iu.test(line)) {
      const left = Number(headerIn(block)("Nats-Pending-Messages"))
      this.#outstanding = Math.max(0, this.#outstanding - (left || this.#outstanding))
      // Only what ran out by its own time may be asked anew at once: it took that time, so this cannot spin.
      if (status === 408) this.#handler.ranOut()
      return
    }
    this.#break(line)
  }

  #break(why: string): void {
    if (this.#over) return
    this.stop()
    this.#handler.broken(why)
  }
}
