import { Journal } from "@millrace/journal"
import type { Action, Digest, GrantId, Principal, Resource, WorkspaceName } from "@millrace/schemas"
import { Effect } from "effect"
import { hash } from "node:crypto"
import { tellDenial } from "../reactors/denials.ts"
import { Caller, type Right } from "./caller.ts"
import { Forbidden, logSilent } from "./errors.ts"

/** How long a refusal waits to be written down, in ms. */
const tellMsMax = 10_000

/** Who may, where, and by which rule. */
export interface Allowed {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  readonly rule: string
  readonly grant?: GrantId
}

const rightFor: Record<string, Right> = { "job.read": "read", "blob.read": "read", "session.open": "read", "blob.put": "submit" }

/** The caller, if it may; otherwise a refusal that the audit already knows of. `resource` is below the workspace. */
export const allowed = (action: "job.read" | "blob.read" | "blob.put", resource: string) =>
  Effect.gen(function*() {
    const { principal, rights, workspace } = yield* Caller
    const right = rightFor[action]!
    if (rights.includes(right)) return { principal, workspace, rule: `token:${right}` } satisfies Allowed
    yield* tellDenial({
      principal,
      workspace,
      action: action as Action,
      resource: `workspace/${workspace}/${resource}` as Resource,
      rule: "token-rights",
      argumentsDigest: `sha256:${hash("sha256", resource, "hex")}` as Digest
    }).pipe(Effect.timeout(tellMsMax), Effect.mapError(() => logSilent))
    return yield* new Forbidden({
      code: "capability_missing",
      what: `${principal} may not do ${action}`,
      where: `workspace ${workspace}`,
      remedy: `ask for a token with the right ${right}; this refusal is in the audit`
    })
  })

export type GateNeeds = Journal | Caller
