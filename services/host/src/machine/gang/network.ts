import type { Capabilities, PlacementMade } from "@millrace/schemas"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Member } from "../../domain/gang-network.ts"
import { CannotStart } from "../runtime.ts"
import { carriedFile } from "./carried.ts"
import type { PortSettings } from "./port-process.ts"
import type { Switch } from "./switch.ts"

/** What this host gives members of gangs a network with. */
export interface GangNetwork {
  readonly switch: Pick<Switch, "socket">
  /** The network's key, which follows from the workspace's own: no fact and no other workspace has it. */
  readonly keyOf: (made: PlacementMade) => Effect.Effect<Uint8Array, CannotStart>
  /** So much one member may send. */
  readonly bytesPerSecondMax: number
}

/** A gigabit a second. */
export const bytesPerSecondByDefault = 125_000_000

/** What a gang's key is derived for: another one each time that the gang begins. */
export const keyPurpose = (network: string): string => `gang-network/${network}`

/** One member's way into its network, made ready. */
export interface Joined {
  readonly self: Member
  readonly settings: PortSettings
}

const cannot = (detail: string) => new CannotStart({ runtime: "sandbox", detail })

/** What the member that is placed, with its things in this folder, needs to join its network. Undefined: it has none, and its sandbox sees loopback alone. */
export const joining = Effect.fnUntraced(function*(made: PlacementMade, network: GangNetwork | undefined, folder: string): Effect.fn.Return<Joined | undefined, CannotStart> {
  const { gang, spec } = made
  const own = gang?.network
  if (gang === undefined || own === undefined) {
    return spec.gang?.network === "private" ? yield* cannot("its gang is to have a network of its own, and the placement names none") : undefined
  }
  if (network === undefined) return yield* cannot("its gang has a network of its own, and this host can make none: place it where the label gang-network says host or hosts")
  if (own.hosts.length !== gang.members || gang.rank >= gang.members) return yield* cannot(`its gang has ${gang.members} members, and the placement says where ${own.hosts.length} of them are`)
  const key = yield* network.keyOf(made)
  const { members, rank } = gang
  return {
    self: { members, rank },
    settings: {
      key: Buffer.from(key).toString("base64url"), rank, members, hosts: own.hosts,
      switchSocket: network.switch.socket, ...portFiles(folder), bytesPerSecondMax: network.bytesPerSecondMax
    }
  }
})

const settingsFile = (folder: string): string => join(folder, "port.json")

/** What a port needs in the folder of its member. */
export const portFiles = (folder: string): Pick<PortSettings, "empty" | "carried"> => ({ empty: join(folder, "empty"), carried: carriedFile(folder) })

/** Lays down what the member's port reads. */
export const layPort = (folder: string, { settings }: Joined): Effect.Effect<void, CannotStart> =>
  Effect.tryPromise({
    try: async () => {
      await mkdir(settings.empty, { recursive: true, mode: 0o755 })
      writeFileSync(settingsFile(folder), JSON.stringify(settings), { mode: 0o600 })
    },
    catch: (cause) => cannot(`its network could not be prepared: ${cause instanceof Error ? cause.message : String(cause)}`)
  })

/** The same command in a network namespace of its own, whose one device a port serves. */
export const behindPort = (folder: string, command: ReadonlyArray<string>): ReadonlyArray<string> =>
  ["unshare", "--net", process.execPath, fileURLToPath(new URL("./port-main.ts", import.meta.url)), settingsFile(folder), ...command]

/** What a machine says of the networks that it can make: for members that share it, and with `at` for those of several hosts. */
export const withGangNetwork = (own: Capabilities, found: { readonly at: string | undefined } | { readonly why: string }): Capabilities => {
  const said: Readonly<Record<string, string>> = "why" in found
    ? { "gang-network": `none: ${found.why}`.slice(0, 500) }
    : found.at === undefined
      ? { "gang-network": "host" }
      : { "gang-network": "hosts", "gang-network-address": found.at }
  return { ...own, labels: { ...own.labels, ...said } }
}
