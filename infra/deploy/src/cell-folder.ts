import { configText, openCellKeys, PAYLOAD_BYTES_MAX } from "@millrace/infra-nats"
import { Effect } from "effect"
import { chownSync, mkdirSync } from "node:fs"
import { join, resolve } from "node:path"
import { makeDatabaseKeys } from "./database.ts"
import { generated } from "./generated.ts"
import { always, failed, makeKeys } from "./keys.ts"
import { keyFiles, parts } from "./parts.ts"
import { keysIn, serverPorts } from "./places.ts"

/** The account that containers run as: nobody's, and not root's. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** Where root prepares a cell, its containers still do not run as root. */
export const unprivileged: Account = { uid: 10_001, gid: 10_001 }

/** The manifests that a prepared folder is used by. */
export const manifests = ["compose.yaml", "kubernetes.yaml", "kustomization.yaml"] as const

export interface CellFolder {
  readonly folder: string
  /** The owner's token: for its owner alone. */
  readonly tokenFile: string
  /** The folder of credentials, the provisioner's among them. */
  readonly credentials: string
}

/**
 * Makes everything that a cell's containers are given: keys, the log's configuration, the roles of the database,
 * the folders that they write, and the manifests beside them. What is there stays; a run that was killed is
 * finished by the next.
 */
export const prepareCell = Effect.fnUntraced(function*({ account, folder: named }: { readonly folder: string; readonly account: Account }) {
  const folder = resolve(named)
  const keysFolder = join(folder, "keys")
  const natsStore = join(folder, "state", "nats")
  const attempt = (body: () => void) => Effect.try({ try: body, catch: (cause) => failed(folder, cause) })
  yield* attempt(() => {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const { from } of parts.flatMap(({ state }) => state)) mkdirSync(join(folder, from), { recursive: true, mode: 0o700 })
  })
  const keys = yield* makeKeys(keysFolder)
  const { accounts } = yield* openCellKeys({ keysDir: keys.credentials, storeDir: natsStore })
  yield* attempt(() => {
    mkdirSync(join(folder, workspaceKeys), { recursive: true, mode: 0o700 })
    makeDatabaseKeys(keysFolder)
    always(join(keysFolder, "nats-server.conf"), natsConfig(accounts))
    for (const name of manifests) always(join(folder, name), generated()[name], 0o644)
    always(join(folder, ".env"), `MILLRACE_UID=${account.uid}\nMILLRACE_GID=${account.gid}\n`, 0o644)
    give(folder, account)
  })
  const made: CellFolder = { folder, tokenFile: keysIn(keysFolder).token, credentials: keys.credentials }
  return made
})

/** The log's configuration as its container reads it: only clients reach it from outside. */
const natsConfig = (accounts: NonNullable<Parameters<typeof configText>[0]["accounts"]>): string =>
  configText({
    name: "millrace",
    listen: "0.0.0.0",
    port: serverPorts.nats,
    monitorPort: serverPorts.natsMonitor,
    storeDir: "/data",
    logTo: "stderr",
    syncAlways: true,
    maxPayloadBytes: PAYLOAD_BYTES_MAX,
    accounts
  })

/** Root hands over what the containers read and write, and keeps the rest: the token, the seeds, the passwords. */
const give = (folder: string, { gid, uid }: Account) => {
  if (process.getuid?.() === uid) return
  const state = parts.flatMap((part) => part.state.map(({ from }) => from))
  for (const path of [...keyFiles.map(({ from }) => from), ...state, workspaceKeys]) chownSync(join(folder, path), uid, gid)
}

const workspaceKeys = "state/workspaces/keys"
