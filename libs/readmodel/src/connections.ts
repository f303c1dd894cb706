import postgres from "postgres"
import { ConnectionLost, isUnconnected } from "./failure.ts"

/** How the connections of one process to one database are bounded. All times in ms. */
export interface ConnectionLimits {
  readonly connectionsMax: number
  /** How long work waits for a free connection. */
  readonly acquireMsMax: number
  /** How long one statement may take: the server ends it then, and a server that does not answer is given up. */
  readonly statementMsMax: number
  readonly connectMsMax: number
}

interface Client {
  readonly sql: postgres.Sql
  lost: boolean
  /** Whether it has answered before. */
  warm: boolean
}

/** What a statement came to. `command` is what Postgres says it did: an aborted transaction answers ROLLBACK to a commit. */
export interface Answer {
  readonly rows: Array<any>
  readonly command: string
  readonly count: number
}

/** One connection, held by one user at a time. */
export interface Held {
  readonly say: (text: string, parameters?: ReadonlyArray<unknown>) => Promise<Answer>
  /**
   * Whether a statement may be sent before the one ahead of it was answered: both go into one socket, so
   * they share its fate. A client that is still connecting would run the second one on its next socket.
   */
  readonly warm: boolean
  /** Never lent again: it is not known what state it is in. */
  readonly discard: () => void
  readonly release: () => void
}

/**
 * A bounded pool in which a connection is a client of its own. The driver's own `reserve()` writes to a
 * closed socket when the server went away between two statements of a transaction (the process dies of
 * it, or waits forever), and a client that connects again by itself would run the rest of a transaction
 * outside it. Here a lost connection answers everything with `ConnectionLost` until it is let go, and is
 * then replaced.
 */
export class Connections {
  readonly #open: () => Client
  readonly #limits: ConnectionLimits
  readonly #idle: Array<Client> = []
  readonly #waiting: Array<(client: Client | Error) => void> = []
  readonly #clients = new Set<Client>()
  #ended = false

  constructor(url: string, limits: ConnectionLimits) {
    this.#limits = limits
    this.#open = () => {
      const client: Client = {
        lost: false,
        warm: false,
        sql: postgres(url, {
          max: 1,
          fetch_types: false,
          onnotice: () => {},
          connect_timeout: limits.connectMsMax / 1000,
          max_lifetime: null,
          types: { bigint: { to: 20, from: [20], serialize: String, parse: wholeFrom } },
          connection: { application_name: "millrace", statement_timeout: limits.statementMsMax },
          onclose: () => void (client.lost = true)
        } as postgres.Options<{}>)
      }
      this.#clients.add(client)
      return client
    }
  }

  async reserve(): Promise<Held> {
    return this.#held(await this.#acquire())
  }

  /** Ends idle connections at once and busy ones after `timeout` seconds. */
  async end({ timeout = 5 }: { readonly timeout?: number } = {}): Promise<void> {
    this.#ended = true
    for (const wake of this.#waiting.splice(0)) wake(new ConnectionLost("CONNECTION_LOST", "the pool is closing"))
    await Promise.all([...this.#clients].map((client) => this.#end(client, timeout)))
  }

  #acquire(): Promise<Client> {
    if (this.#ended) return Promise.reject(new ConnectionLost("CONNECTION_LOST", "the pool is closed"))
    for (let client = this.#idle.pop(); client !== undefined; client = this.#idle.pop()) {
      if (!client.lost) return Promise.resolve(client)
      void this.#end(client, 0)
    }
    if (this.#clients.size < this.#limits.connectionsMax) return Promise.resolve(this.#open())
    return new Promise((resolve, reject) => {
      const wake = (client: Client | Error) => {
        clearTimeout(late)
        if (client instanceof Error) reject(client)
        else resolve(client)
      }
      const late = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1)
        reject(new ConnectionLost("NO_CONNECTION_FREE", `none of ${this.#limits.connectionsMax} connections came free within ${this.#limits.acquireMsMax} ms`))
      }, this.#limits.acquireMsMax)
      this.#waiting.push(wake)
    })
  }

  #held(client: Client): Held {
    return {
      say: (text, parameters = []) => this.#say(client, text, parameters),
      warm: client.warm,
      discard: () => void (client.lost = true),
      release: () => this.#release(client)
    }
  }

  #say(client: Client, text: string, parameters: ReadonlyArray<unknown>): Promise<Answer> {
    if (client.lost) return Promise.reject(new ConnectionLost("CONNECTION_LOST", "the connection to Postgres closed within a transaction"))
    return new Promise((resolve, reject) => {
      const waitMs = this.#limits.statementMsMax + this.#limits.connectMsMax
      const late = setTimeout(() => fail(new ConnectionLost("STATEMENT_UNANSWERED", `Postgres did not answer within ${waitMs} ms`)), waitMs)
      const fail = (cause: unknown) => {
        clearTimeout(late)
        // Marked before anybody hears of it: the driver never answers what is sent between a socket's error and its close.
        if (isUnconnected(cause)) client.lost = true
        reject(cause)
      }
      client.sql.unsafe(text, [...parameters] as never, { prepare: true }).then((result) => {
        clearTimeout(late)
        client.warm = true
        resolve({ rows: Array.from(result), command: result.command, count: result.count })
      }, fail)
    })
  }

  #release(client: Client): void {
    if (client.lost || this.#ended) void this.#end(client, 0)
    const free = client.lost ? undefined : client
    const next = this.#waiting.shift()
    if (next !== undefined) next(free ?? this.#open())
    else if (free !== undefined) this.#idle.push(free)
  }

  async #end(client: Client, timeout: number): Promise<void> {
    this.#clients.delete(client)
    await client.sql.end({ timeout }).catch(() => undefined)
  }
}

/** An int8 column holds whole numbers that a double holds exactly; larger ones belong into numeric. */
const wholeFrom = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`an int8 column holds ${text}, beyond 2^53: make it numeric, which is read as text`)
  return value
}
