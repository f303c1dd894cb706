import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
  type TransactionSettings
} from "kysely"
import type { Answer, Connections, Held } from "./connections.ts"

/**
 * Kysely over our connections. The published dialect for this driver reserves connections in a way that
 * does not survive the server's going, and takes the ROLLBACK that answers the commit of an aborted
 * transaction for a commit.
 */
export const postgresDialect = (connections: Connections): Dialect => ({
  createAdapter: () => new PostgresAdapter(),
  createDriver: () => driverOver(connections),
  createIntrospector: (db) => new PostgresIntrospector(db),
  createQueryCompiler: () => new PostgresQueryCompiler()
})

/** A commit that Postgres turned into a rollback, because a statement had failed and nobody minded. */
export class CommitRolledBack extends Error {
  constructor() {
    super("a statement failed earlier in this transaction and the failure was not handed on, so the commit rolled it back")
  }
}

class Connection implements DatabaseConnection {
  readonly held: Held
  #begun: Promise<unknown> = Promise.resolve()

  constructor(held: Held) {
    this.held = held
  }

  /** The begin travels with the statement behind it, which saves a round trip; what it came to is heard there. */
  async begin(text: string): Promise<void> {
    const begun = this.held.say(text)
    if (!this.held.warm) return void (await begun)
    this.#begun = begun
    begun.catch(() => undefined)
  }

  async say(text: string, parameters?: ReadonlyArray<unknown>): Promise<Answer> {
    const [answer] = await Promise.all([this.held.say(text, parameters), this.#begun])
    return answer
  }

  async executeQuery<R>({ parameters, sql }: CompiledQuery<unknown>): Promise<QueryResult<R>> {
    const { command, count, rows } = await this.say(sql, parameters)
    return CHANGES.has(command) ? { rows, numAffectedRows: BigInt(count ?? 0) } : { rows }
  }

  streamQuery(): AsyncIterableIterator<never> {
    throw new Error("a read model reads pages, not streams: use limit")
  }
}

const CHANGES = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"])

const driverOver = (connections: Connections): Driver => {
  const say = (connection: DatabaseConnection, text: string): Promise<Answer> => (connection as Connection).say(text)
  return {
    init: async () => {},
    destroy: async () => {},
    acquireConnection: async () => new Connection(await connections.reserve()),
    releaseConnection: async (connection) => (connection as Connection).held.release(),
    beginTransaction: (connection, settings) => (connection as Connection).begin(beginText(settings)),
    commitTransaction: async (connection) => {
      const { command } = await say(connection, "commit")
      if (command !== "COMMIT") throw new CommitRolledBack()
    },
    rollbackTransaction: async (connection) => {
      // Without an answer the server rolls back by itself when the connection goes, so it has to go.
      await say(connection, "rollback").catch(() => (connection as Connection).held.discard())
    }
  }
}

const beginText = ({ accessMode, isolationLevel }: TransactionSettings): string =>
  ["begin", ...(isolationLevel === undefined ? [] : [`isolation level ${isolationLevel}`]), ...(accessMode === undefined ? [] : [accessMode])].join(" ")
