import type { FactId, LeaseId, MillFact, Principal } from "@millrace/schemas"
import { inOrder } from "./bounds.ts"
import { type Lease, stageOf } from "./lease.ts"
import type { State } from "./state.ts"

/** What asking for the end of leases leads to. */
export interface Reaped {
  /** Given up now, each with what is said of it. */
  readonly given: ReadonlyArray<{ readonly lease: Lease; readonly event: MillFact; readonly causedBy: FactId }>
  /** Given up before; their provider is asked until it confirms. */
  readonly ending: ReadonlyArray<LeaseId>
  /** Asked for by name, and not open. */
  readonly unknown: ReadonlyArray<LeaseId>
}

/** Nobody accounts for it, or the provider's list has missed it. */
const leaks = (lease: Lease): boolean => stageOf(lease) === "orphan" || (stageOf(lease) === "held" && lease.missed > 0)

/** Ends what leaks, or the named leases whatever they do. Work that runs there is given its time to end. */
export const reap = (state: State, named: ReadonlyArray<LeaseId>, askedBy: Principal): Reaped => {
  const chosen = named.length === 0 ? inOrder(state).filter((lease) => leaks(lease) || stageOf(lease) === "released") : named.flatMap((id) => state.leases.get(id) ?? [])
  const given = chosen.flatMap((lease): Reaped["given"] => {
    const which = { leaseId: lease.id, provider: lease.provider }
    switch (stageOf(lease)) {
      case "asked":
        return [{ lease, causedBy: lease.factId, event: { _tag: "LeaseWithdrawn", ...which, cause: "not_needed", detail: `asked by ${askedBy}` } }]
      case "held":
      case "orphan":
        return [{ lease, causedBy: lease.granted?.factId ?? lease.found?.factId ?? lease.factId, event: { _tag: "LeaseReleased", ...which, cause: "asked", askedBy } }]
      default:
        return []
    }
  })
  return {
    given,
    ending: chosen.filter((lease) => ["released", "withdrawn"].includes(stageOf(lease))).map(({ id }) => id),
    unknown: named.filter((id) => !state.leases.has(id))
  }
}
