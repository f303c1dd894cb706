import { deriveId } from "@millrace/decider"
import type { ActionPattern, Constraints, FactId, GrantId, MillFact, Principal, ResourcePattern, Subject, WorkspaceName } from "@millrace/schemas"
import { subjectText } from "@millrace/schemas"
import type { Broker, Chance } from "@millrace/sim"

/** A grant that somebody may submit under, and who. */
export interface SimulatedGrant {
  readonly grantId: GrantId
  readonly workspace: WorkspaceName
  readonly holder: Principal
}

const owner = "user:ada" as Principal
const agent = "agent:worker" as Principal
const dollar = 1_000_000_000_000n

/** Says one fact as access does; nobody else speaks there, so it is stored at once. */
const say = (broker: Broker, subject: Subject, event: MillFact): void => {
  const id = deriveId<FactId>("fct", broker.time.nowMs, subjectText(subject), event._tag, broker.log.head("ACCESS"))
  broker.store(
    { subject, actor: "service:access" as Principal, happenedAtMs: broker.time.nowMs, facts: [{ id, partOf: id, event }] },
    { last: "subject", sequence: broker.log.lastOn(subjectText(subject)) }
  )
}

/**
 * What access has said when the run begins: the workspaces with their owner, and in the first one a grant that is
 * counted exactly and another below it. Some seeds take the whole of it back half-way.
 */
export const grantAuthority = (broker: Broker, chance: Chance, workspaces: ReadonlyArray<WorkspaceName>, forMs: number): ReadonlyArray<SimulatedGrant> => {
  for (const workspace of workspaces) {
    say(broker, { kind: "principal", scope: workspace }, { _tag: "WorkspaceOpened", workspace, organisation: workspace, owner })
    say(broker, { kind: "principal", scope: workspace }, { _tag: "RoleBound", workspace, principal: owner, role: "owner", boundBy: owner })
  }
  const workspace = workspaces[0]!
  const tree = deriveId<GrantId>("grt", broker.time.nowMs, "simulated grant")
  const below = deriveId<GrantId>("grt", broker.time.nowMs, "simulated grant below")
  const subject: Subject = { kind: "grant", scope: workspace, story: tree }
  const reach = (constraints: Constraints, depthMax: number) => ({
    actions: ["job.*" as ActionPattern], resources: [`workspace/${workspace}/*` as ResourcePattern], constraints, notBeforeMs: 0, expiresAtMs: 4_000_000_000_000, depthMax
  })
  const widest: Constraints = { usesMax: chance.between(3, 8), concurrencyMax: chance.between(1, 3) }
  const narrower: Constraints = { spendPicoMax: BigInt(chance.between(1, 30)) * dollar / 10n, concurrencyMax: chance.between(1, 2) }
  say(broker, subject, { _tag: "GrantIssued", workspace, tree, grantId: tree, holder: agent, issuer: owner, reach: reach(widest, 2), durable: false, reason: "to be counted" })
  say(broker, subject, { _tag: "GrantDelegated", workspace, tree, grantId: below, parent: tree, depth: 1, holder: agent, issuer: agent, reach: reach(narrower, 1), reason: "to be counted, too" })
  if (chance.happens(0.15)) {
    broker.time.after(chance.between(Math.floor(forMs / 3), forMs), () =>
      say(broker, subject, { _tag: "GrantRevoked", workspace, tree, grantId: tree, revokedBy: owner, cause: "asked", below: 1 }))
  }
  return [{ grantId: tree, workspace, holder: agent }, { grantId: below, workspace, holder: agent }]
}

/** What an account may hold in all: enough for the largest job, and not for many of them at once. */
export const limitPicoOf = (chance: Chance): bigint => BigInt(chance.between(25, 80)) * dollar / 10n
