import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import { command } from "../sandbox-command.ts"
import { placesIn } from "../sandbox-bundle.ts"
import { commandLine, type Ground, prepare, release } from "../sandbox-ground.ts"
import { deviceName } from "../../domain/gang-network.ts"
import { portFiles, type Joined } from "./network.ts"

const probeMsMax = 20_000
const proven = 42

/** That members of gangs can have a network here, or why not. */
export type NetworkProven = { readonly made: true } | { readonly why: string }

/**
 * Finds out whether members of gangs can have a network here, by making one: a sandbox behind a port, whose program
 * must see the port's device. Takes about half a second.
 */
export const probeNetwork = Effect.fnUntraced(function*(ground: Ground, name: string): Effect.fn.Return<NetworkProven> {
  if (ground.rung !== "mapped") return { why: "the agent is not root, and network namespaces are root's to make" }
  const { folder } = placesIn(join(ground.folder, name))
  const joined: Joined = {
    self: { rank: 0, members: 2 },
    settings: {
      key: randomBytes(32).toString("base64url"), rank: 0, members: 2, hosts: ["here", "here"],
      // Nobody listens there: whether frames arrive is the network's own matter.
      switchSocket: join(folder, "no-switch"), ...portFiles(folder), bytesPerSecondMax: 1
    }
  }
  const ran = yield* prepare(ground, {
    name, joined,
    program: { argv: ["/bin/sh", "-c", `while read -r device _; do [ "$device" = ${deviceName}: ] && exit ${proven}; done < /proc/net/dev`], env: {}, labels: {} },
    resources: { cpuMilli: 1000, memoryMib: 128, diskMib: 8, gpus: 0 }
  }).pipe(
    Effect.andThen(Effect.suspend(() => {
      const [file = "", ...args] = commandLine(ground, name, joined)
      return command(file, args, probeMsMax)
    })),
    Effect.map(({ code, stderr }) => ({ code, said: stderr.trim().slice(-400) || `it ended with ${code}` })),
    Effect.catch(({ detail }) => Effect.succeed({ code: 127, said: detail }))
  )
  yield* release(ground, name)
  return ran.code === proven ? { made: true } : { why: `a member's sandbox did not run: ${ran.said}` }
})
