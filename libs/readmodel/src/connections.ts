import postgres from "postgres"

/** How the connections of one process to one database are bounded. All times in ms. */
export interface ConnectionLimits {
  readonly connectionsMax: number
  /** How long work waits for a free connection. */
  readonly acquireMsMax: number
  /** How long one statement may take: the server ends it then, and a server that does not answer is given up. */
  readonly statementMsMax: number
  readonly connectMsMax: number
}

/** The connection that work ran on is gone, or none was to be had. What ran in it has rolled back. */
export class ConnectionLost extends Error {
  readonly code: "CONNECTION_LOST" | "NO_CONNECTION_FREE" | "STATEMENT_UNANSWERED"

  constructor(code: ConnectionLost["code"], message: string) {
    super(message)
    this.code = code
  }
}

interface Client {
  readonly sql: postgres.Sql
  lost: boolean
}

/** One connection, held by one user at a time. */
export interface Held {
  readonly unsafe: (text: string, parameters?: Array<unknown>, options?: object) => any
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
  readonly options: { readonly max: number }
  readonly #open: () => Client
  readonly #limits: ConnectionLimits
  readonly #idle: Array<Client> = []
  readonly #waiting: Array<(client: Client | Error) => void> = []
  readonly #clients = new Set<Client>()
  #ended = false

  constructor(url: string, limits: ConnectionLimits) {
    this.#limits = limits
    this.options = { max: limits.connectionsMax }
    this.#open = () => {
      const client: Client = {
        lost: false,
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
    if (this.#clients.size < this.options.max) return Promise.resolve(this.#open())
    return new Promise((resolve, reject) => {
      const wake = (client: Client | Error) => {
        clearTimeout(late)
        if (client instanceof Error) reject(client)
        else resolve(client)
      }
      const late = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1)
        reject(new ConnectionLost("NO_CONNECTION_FREE", `none of ${this.options.max} connections came free within ${this.#limits.acquireMsMax} ms`))
      }, this.#limits.acquireMsMax)
      this.#waiting.push(wake)
    })
  }

  #held(client: Client): Held {
    return {
      unsafe: (text, parameters, options) => {
        if (client.lost) return rejected(new ConnectionLost("CONNECTION_LOST", "the connection to Postgres closed within a transaction"))
        const pending = client.sql.unsafe(text, parameters as never, options)
        const late = setTimeout(() => {
          client.lost = true
          void this.#end(client, 0)
        }, this.#limits.statementMsMax + this.#limits.connectMsMax)
        const settled = () => clearTimeout(late)
        pending.then(settled, settled)
        return pending
      },
      release: () => this.#release(client)
    }
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

const rejected = (error: Error) => {
  const promise = Promise.reject(error)
  return Object.assign(promise, { cancel: () => undefined })
}

/** An int8 column holds whole numbers that a double holds exactly; larger ones belong into numeric. */
const wholeFrom = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`an int8 column holds ${text}, beyond 2^53: make it numeric, which is read as text`)
  return value
}
