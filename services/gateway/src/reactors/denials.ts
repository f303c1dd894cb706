import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import type { Action, DecisionMade, Digest, FactId, Principal, Resource, WorkspaceName } from "@millrace/schemas"
import { Clock, Effect } from "effect"

/** What was asked of this gate and refused. */
export interface Denial {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  readonly action: Action
  readonly resource: Resource
  readonly rule: string
  /** SHA-256 of what was asked, so that two refusals can be told apart without keeping the request. */
  readonly argumentsDigest: Digest
}

const subject = { kind: "decision", scope: "gateway" }

/**
 * Writes a refusal down before it is answered, so that the audit knows of every one. Gateways share the
 * subject: whoever is overtaken looks again.
 */
export const tellDenial = Effect.fnUntraced(function*({ action, argumentsDigest, principal, resource, rule, workspace }: Denial) {
  const journal = yield* Journal
  const atMs = yield* Clock.currentTimeMillis
  const event: DecisionMade = {
    _tag: "DecisionMade",
    point: "gateway",
    workspace,
    request: { principal, action, resource, argumentsDigest },
    verdict: "deny",
    rule,
    reason: "no_role",
    missing: { action, resource },
    grantPath: [],
    policies: [],
    errors: [],
    view: {},
    viewAgeMs: 0,
    decidedAtMs: atMs
  }
  yield* Effect.gen(function*() {
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    const id = deriveId<FactId>("fct", atMs, principal, action, resource, sequence)
    yield* journal.append({ subject, actor: principal, happenedAtMs: atMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence })
  }).pipe(Effect.retry({ times: 20, while: (error) => error._tag === "Overtaken" }))
})
