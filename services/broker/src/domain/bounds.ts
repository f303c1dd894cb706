import type { LeaseId } from "@millrace/schemas"
import { addedPerHourOf, type Lease } from "./lease.ts"
import type { State } from "./state.ts"

/** In the order in which they were asked for: their ids begin with the time. */
export const inOrder = (state: State): ReadonlyArray<Lease> => [...state.leases.values()].sort((a, b) => (a.id < b.id ? -1 : 1))

export interface Open {
  readonly machines: number
  readonly picoPerHour: bigint
}

/** What is open, and may cost money, with all that is only asked for. */
export const openIn = (state: State): Open => {
  let picoPerHour = 0n
  for (const lease of state.leases.values()) picoPerHour += addedPerHourOf(lease)
  return { machines: state.leases.size, picoPerHour }
}

/** The leases that are too many, or too dear, for the bounds as they are now: the newest go first. */
export const beyondBounds = (state: State): ReadonlySet<LeaseId> => {
  const { bounds } = state
  if (bounds === undefined) return new Set(state.leases.keys())
  const over = new Set<LeaseId>()
  let machines = 0
  let picoPerHour = 0n
  for (const lease of inOrder(state)) {
    machines += 1
    picoPerHour += addedPerHourOf(lease)
    if (machines > bounds.machinesMax || picoPerHour > bounds.spendPicoPerHourMax) over.add(lease.id)
  }
  return over
}
