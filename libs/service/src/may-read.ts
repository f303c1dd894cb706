import { type ActionName, resourceOf } from "@millrace/authority"
import type { WorkspaceName } from "@millrace/schemas"
import { Effect } from "effect"
import { askOf, Caller } from "./authentication.ts"
import { Authority } from "./authority.ts"
import { Forbidden } from "./refusals.ts"

/**
 * The caller's workspace, if the caller may read something there; `within` says what, below the workspace, from
 * the outside in. For the reads of services that have no decisions of their own in the log: who is refused is
 * told so, with what is missing; the gateway, through which people come, decides it again and writes it down.
 */
export const mayRead = (action: ActionName, ...within: ReadonlyArray<string>): Effect.Effect<WorkspaceName, Forbidden, Authority | Caller> =>
  Effect.gen(function*() {
    const authority = yield* Authority
    const caller = yield* Caller
    const ask = askOf(caller, { action, resource: resourceOf(caller.workspace, ...within) })
    const { decision } = yield* authority.decide(ask)
    if (decision.verdict === "allow") return caller.workspace
    return yield* new Forbidden({
      code: "capability_missing",
      what: `${caller.principal} may not do ${action} (${decision.rule})`,
      where: decision.missing?.narrowedBy ?? `workspace ${caller.workspace}`,
      remedy: `ask an owner of the workspace for a grant that gives ${action} on ${ask.resource}`,
      ...(decision.missing === undefined ? {} : { missing: decision.missing })
    })
  })
