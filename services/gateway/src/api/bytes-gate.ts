import type { Journal } from "@millrace/journal"
import type { Allowed as Decision, GrantId, Principal, WorkspaceName } from "@millrace/schemas"
import { Caller } from "@millrace/service"
import { Effect } from "effect"
import { digestOf } from "../domain/request.ts"
import { Gate } from "../reactors/gate.ts"
import type { Forbidden, Unavailable } from "./errors.ts"
import { refusalOf } from "./refusals.ts"

/** Who may, and where. */
export interface Allowed {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  /** By which rule, and what was known then. */
  readonly decision: Decision
  readonly grant?: GrantId
  /** Waits until it may no more. */
  readonly takenBack: Effect.Effect<void>
}

/** The caller, if it may; otherwise a refusal that the audit already knows of. `resource` is below the workspace. */
export const allowed = (action: "job.read" | "blob.read" | "blob.put", resource: string): Effect.Effect<Allowed, Forbidden | Unavailable, Caller | Gate> =>
  Effect.gen(function*() {
    const gate = yield* Gate
    const caller = yield* Caller
    const asked = {
      // Whoever may read jobs may read the bytes that jobs of its workspace take and make.
      action: action === "blob.read" ? "job.read" : action,
      within: resource.split("/"),
      argumentsDigest: digestOf({ action, resource })
    } as const
    const acting = yield* Effect.mapError(gate.pass(caller, asked), refusalOf)
    return {
      takenBack: gate.takenBack(caller, asked),
      principal: acting.principal,
      workspace: acting.workspace,
      decision: acting.decision,
      ...(acting.grant === undefined ? {} : { grant: acting.grant })
    }
  })

export type GateNeeds = Journal | Caller | Gate
