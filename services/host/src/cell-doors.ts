import type { HostId } from "@millrace/schemas"
import { publicKeyOf, verifyWith, type VerifyWarrant, WarrantRefused } from "@millrace/wire"
import { Effect, Layer, type Redacted } from "effect"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { Doors } from "./machine/doors.ts"
import { serveWire } from "./reactors/wire.ts"

export interface CellDoors {
  readonly hostId: HostId
  /** The host's own folder. */
  readonly folder: string
  /** The cell's API; without it programs have no socket, and nobody follows their output while they run. */
  readonly apiUrl: string | undefined
  /** The relay, where it is elsewhere than on the API's address. */
  readonly relayUrl: string | undefined
  /** The public key of who opens sessions, in PEM form; without it nobody follows anything here. */
  readonly sessionKey: string | undefined
  readonly relayToken: Effect.Effect<Redacted.Redacted>
}

/** How far the clocks of host and gateway may be apart, in ms. */
const skewMs = 60_000

/** What running work has towards the outside, as the settings of this host say. */
export const cellDoors = ({ apiUrl, folder, hostId, relayToken, relayUrl, sessionKey }: CellDoors): Layer.Layer<Doors> => {
  const doors = Doors.layer(apiUrl === undefined ? undefined : { folder: join(folder, "api"), apiUrl })
  const relay = relayUrl ?? (apiUrl === undefined ? undefined : `${apiUrl.replace(/^http/u, "ws").replace(/\/+$/u, "")}/v1/wire`)
  if (relay === undefined || sessionKey === undefined) return doors
  const wire = Layer.effectDiscard(serveWire({ hostId, relayUrl: relay, token: relayToken, verifyWarrant: verifyWarrantIn(sessionKey) }))
  return Layer.provideMerge(wire, doors)
}

/** The key is read for each session: it may be made, or changed, while the host runs. */
const verifyWarrantIn = (path: string): VerifyWarrant => (warrant, ask) =>
  Effect.tryPromise({
    try: async () => publicKeyOf(await readFile(path, "utf8")),
    catch: () => new WarrantRefused({ code: "warrant_forged", reason: "This host has no key to check it with: its MILLRACE_SESSION_KEY_PUBLIC cannot be read." })
  }).pipe(Effect.flatMap((key) => verifyWith({ cellKeys: [key], skewMs })(warrant, ask)))
