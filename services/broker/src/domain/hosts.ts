import { shortfallOf } from "./boot-check.ts"
import type { Lease } from "./lease.ts"
import type { Host, State } from "./state.ts"

/** The host that used a lease's one-time key. */
export const hostOf = (state: State, { hostId, requested }: Lease): Host | undefined => {
  const id = hostId ?? (requested === undefined ? undefined : state.byDigest.get(requested.fact.oneTimeKeyDigest))
  return id === undefined ? undefined : state.hosts.get(id)
}

/** What a lease's machine lacks of what was bought, once its host has joined. */
export const shortOf = (state: State, lease: Lease): string | undefined => {
  const joined = hostOf(state, lease)?.joined
  return joined === undefined || lease.requested === undefined ? undefined : shortfallOf(lease.requested.fact, joined.found)
}
