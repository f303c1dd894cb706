import { hostOf } from "./hosts.ts"
import type { Lease } from "./lease.ts"
import type { State } from "./state.ts"

/** Facts that were under way when a machine was given up are heard by then. */
const heardMs = 2_000
/** Work that was begun on a machine just before it was given up may end there, for so long. */
const drainMsMax = 600_000

/**
 * How long yet until a machine that was given up may be ended, in ms. The scheduler may have placed work there in
 * the moment in which it was given up; it places nothing more once it has heard of it.
 */
export const drainsForMs = (state: State, lease: Lease, atMs: number): number => {
  const { released } = lease
  const host = hostOf(state, lease)
  if (released === undefined || host?.joined === undefined || host.goneSinceMs !== undefined || host.left) return 0
  if (!["idle", "unused", "asked", "replaced"].includes(released.cause)) return 0
  if (host.running.size > 0) return Math.max(0, released.atMs + drainMsMax - atMs)
  return Math.max(0, released.atMs + heardMs - atMs)
}
