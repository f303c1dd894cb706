import type { StreamSizes } from "@millrace/journal/jetstream"
import { Effect } from "effect"
import { join } from "node:path"
import { type CellKeys, openCellKeys } from "./cell-keys.ts"
import { startCluster } from "./cluster.ts"
import { provision } from "./provision.ts"
import { type NatsServer, type ServerOptions, startServer } from "./server.ts"

export interface CellOptions extends Omit<ServerOptions, "accounts">, Omit<StreamSizes, "replicas"> {
  /** Where the cell's keys lie; made when missing. */
  readonly keysDir: string
  /** 1, as by default, or 3 that replicate. */
  readonly nodes?: 1 | 3
}

/** A cell's log on this machine: its servers, and the credentials for them. */
export interface Cell {
  readonly urls: ReadonlyArray<string>
  readonly nodes: ReadonlyArray<NatsServer>
  readonly keys: CellKeys
  /** How many servers hold each stream. */
  readonly replicas: number
}

/** Starts the servers of a cell with its accounts and its streams, for as long as the scope lives. */
export const startCell = Effect.fnUntraced(function*(options: CellOptions) {
  const nodes = options.nodes ?? 1
  // Each node of a cluster learns newer claims by itself; the first one's folder has them all.
  const resolverOf = nodes === 1 ? options.storeDir : join(options.storeDir, "node-1")
  const keys = yield* openCellKeys({ keysDir: options.keysDir, storeDir: resolverOf })
  const serverOptions = { ...options, accounts: keys.accounts }
  const servers = nodes === 1
    ? [yield* startServer(serverOptions)]
    : (yield* startCluster({ ...serverOptions, nodes })).nodes
  const urls = servers.map(({ url }) => url)
  yield* provision({ servers: urls, creds: keys.creds("provisioner"), replicas: nodes, ...sizesOf(options) })
  const cell: Cell = { urls, nodes: servers, keys, replicas: nodes }
  return cell
})

const sizesOf = ({ bytesMax, epoch }: CellOptions) => ({
  ...(bytesMax === undefined ? {} : { bytesMax }),
  ...(epoch === undefined ? {} : { epoch })
})
