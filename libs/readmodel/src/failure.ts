/** What a driver's error says. Its query and parameters stay out: parameters hold tenants' data. */
export const reasonOf = (cause: unknown): { readonly detail: string; readonly state?: string } => {
  const code = codeOf(cause)
  const detail = cause instanceof Error ? cause.message : String(cause)
  return code !== undefined && SQLSTATE.test(code) ? { detail, state: code } : { detail: code === undefined ? detail : `${code}: ${detail}` }
}

export const codeOf = (cause: unknown): string | undefined => {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  return typeof code === "string" ? code : undefined
}

const SQLSTATE = /^[0-9A-Z]{5}$/

/** The connection that work ran on is gone, or none was to be had. What ran in it has rolled back. */
export class ConnectionLost extends Error {
  readonly code: "CONNECTION_LOST" | "NO_CONNECTION_FREE" | "STATEMENT_UNANSWERED"

  constructor(code: ConnectionLost["code"], message: string) {
    super(message)
    this.code = code
  }
}

/** The driver's own codes and the operating system's, for a connection that is not there. */
const UNCONNECTED = /^(CONNECTION_(CLOSED|ENDED|DESTROYED)|CONNECT_TIMEOUT|E(CONNREFUSED|CONNRESET|PIPE|HOSTUNREACH|NETUNREACH|TIMEDOUT|AI_AGAIN|NOTFOUND))$/

/** Postgres is going, has gone or does not let us in: it closes the connection with these. */
const CLOSING = /^(08|57P0)/

/** Whether the connection is of no more use. */
export const isUnconnected = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return cause instanceof ConnectionLost || (code !== undefined && (UNCONNECTED.test(code) || CLOSING.test(code)))
}

/**
 * SQLSTATE classes that say nothing about the statement itself: connection (08), a role or rights that
 * are not there yet (28, 42501), deadlock and serialisation (40), locks (55), resources (53), the
 * operator or a time limit (57), the system (58), a corrupt index (XX).
 */
const PASSING = /^(08|28|40|53|55|57|58|XX)|^42501$/

/** Whether trying the same again later may work. Anything else would fail the same way. */
export const isPassing = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return isUnconnected(cause) || (code !== undefined && SQLSTATE.test(code) && PASSING.test(code))
}

/** Whether a table, column or schema that was asked for is not there: the edition that was read is another one. */
export const isMissing = (state: string | undefined): boolean =>
  state === "42P01" || state === "42703" || state === "3F000"
