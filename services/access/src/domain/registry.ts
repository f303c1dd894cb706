import { emptyView, evolve, type View } from "@millrace/authority"
import type { Fact } from "@millrace/journal"
import type { AskId, FactId, GrantId, Principal, WorkspaceName } from "@millrace/schemas"
import { AdmissionDecider, emptyRoster, type Roster } from "./admission.ts"

/** All that access knows from its own stream. Changed in place by `learn` alone. */
export interface Registry {
  readonly view: View
  readonly roster: Roster
  /** The asks that were answered last, in order. */
  readonly answered: Set<AskId>
  /** The facts about which a decision was written down last, in order. */
  readonly judged: Set<FactId>
  /** Which fact gave a grant, and which one took it away since. */
  readonly grounds: Map<GrantId, { readonly made: FactId; readonly partOf: FactId; readonly taken?: FactId }>
  /** Which fact took the last role from somebody in a workspace. */
  readonly unbound: Map<string, FactId>
  /** How often authority has become less. */
  taken: number
  /** How far it has come: the last sequence of the stream that is in it. */
  sequence: number
}

/** As many asks may be in hand at once as the log hands out unacknowledged, and many more. */
const rememberedMax = 100_000

export const emptyRegistry = (): Registry => ({
  view: emptyView(), roster: emptyRoster(), answered: new Set(), judged: new Set(), grounds: new Map(), unbound: new Map(), taken: 0, sequence: 0
})

export const unboundKey = (workspace: WorkspaceName, principal: Principal): string => `${workspace} ${principal}`

/** Takes in one fact of access's stream, in place. */
export const learn = (registry: Registry, { causedBy, event, id, partOf }: Pick<Fact, "event" | "id" | "partOf" | "causedBy">): void => {
  evolve(registry.view, event)
  if ("answers" in event && event.answers !== undefined) remember(registry.answered, event.answers)
  switch (event._tag) {
    case "GrantIssued":
    case "GrantDelegated":
      if (!registry.grounds.has(event.grantId)) registry.grounds.set(event.grantId, { made: id, partOf })
      return
    case "GrantSuspended":
    case "GrantRevoked":
      registry.grounds.set(event.grantId, { ...(registry.grounds.get(event.grantId) ?? { made: id, partOf }), taken: id })
      registry.taken += 1
      return
    case "RoleUnbound":
      registry.unbound.set(unboundKey(event.workspace, event.principal), id)
      registry.taken += 1
      return
    case "DecisionMade":
      if (causedBy !== undefined) remember(registry.judged, causedBy)
      return
    case "EnrolmentOpened":
    case "HostAdmitted":
    case "HostDismissed":
      AdmissionDecider.evolve(registry.roster, event)
      return
    default:
      return
  }
}

const remember = <A>(known: Set<A>, one: A): void => {
  known.add(one)
  if (known.size > rememberedMax) for (const oldest of known) return void known.delete(oldest)
}
