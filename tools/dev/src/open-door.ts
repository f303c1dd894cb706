import { type DoorFile, doorFileName } from "@millrace/cli"
import { Effect, type Scope } from "effect"
import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Stack } from "./stack.ts"

/**
 * Writes down where a running cell is, so that `npx millrace` on this machine finds it without being told;
 * taken away when the cell stops. A file that a killed cell left leads to an address that does not answer.
 */
export const openDoor = (stack: Stack, skyUrl?: string): Effect.Effect<void, never, Scope.Scope> => {
  const path = join(stack.folder, doorFileName)
  const door: DoorFile = {
    apiUrl: stack.apiUrl,
    natsUrl: stack.natsUrl,
    credentials: stack.credentials,
    tokenFile: stack.tokenFile,
    checkpoints: stack.env["MILLRACE_CHECKPOINTS"]!,
    ...(skyUrl === undefined ? {} : { skyUrl })
  }
  return Effect.acquireRelease(
    Effect.sync(() => writeFileSync(path, `${JSON.stringify(door, null, 2)}\n`, { mode: 0o600 })),
    () => Effect.sync(() => rmSync(path, { force: true }))
  )
}
