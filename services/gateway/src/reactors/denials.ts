import { deriveId } from "@millrace/decider"
import type { Action, DecisionMade, Digest, FactId, Principal, Resource, WorkspaceName } from "@millrace/schemas"
import { Clock, Effect } from "effect"
import { sayOn } from "./say-on.ts"

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

/** Writes a refusal down before it is answered, so that the audit knows of every one. */
export const tellDenial = Effect.fnUntraced(function*({ action, argumentsDigest, principal, resource, rule, workspace }: Denial) {
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
  yield* sayOn({
    subject: { kind: "decision", scope: "gateway" },
    actor: principal,
    event,
    idBehind: (sequence) => deriveId<FactId>("fct", atMs, principal, action, resource, sequence)
  })
})
