import type { NatsConnection, Status } from "@nats-io/transport-node"

type Listener = (status: Status) => void

const listeners = new WeakMap<NatsConnection, Set<Listener>>()

/**
 * Calls back on whatever befalls a connection, until the returned function is called. One loop a connection,
 * however many listen; it ends with the connection.
 */
export const onStatus = (connection: NatsConnection, listener: Listener): () => void => {
  const known = listeners.get(connection)
  const all = known ?? new Set<Listener>()
  all.add(listener)
  if (known === undefined) {
    listeners.set(connection, all)
    void relay(connection, all)
  }
  return () => void all.delete(listener)
}

const relay = async (connection: NatsConnection, all: ReadonlySet<Listener>): Promise<void> => {
  for await (const status of connection.status()) for (const listener of [...all]) listener(status)
}
