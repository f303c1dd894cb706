import { Journal, readable } from "@millrace/journal"
import type { LeaseRequested, Principal, WorkspaceName } from "@millrace/schemas"
import { Effect, Result } from "effect"
import { AdmissionDecider } from "../domain/admission.ts"
import { Register } from "./register.ts"

/** How long a rented machine may take from its provider's last word to its enrolment, in ms. */
const bootMsMax = 15 * 60_000

/**
 * Lets a machine enrol that is being rented: the key behind the digest in `LeaseRequested` admits one host.
 * Delivered at least once; a key that is open already is not opened again.
 */
export const openLeased = Effect.gen(function*() {
  const journal = yield* Journal
  const { say } = yield* Register
  return yield* journal.react({ stream: "BROKER", durable: "access-leases", filter: "mill.machine.*.*" }, (commit) =>
    Effect.forEach(readable(commit).facts, ({ event, id, partOf }) =>
      event._tag !== "LeaseRequested" ? Effect.void : Effect.asVoid(say(({ roster, view }) => {
        const opened = AdmissionDecider.decide(roster, opening(event, view.owners.keys().next().value))
        return Result.isFailure(opened) ? undefined : {
          subject: { kind: "admission", scope: "cell" },
          actor: "service:access" as Principal,
          facts: opened.success.map((fact) => ({ event: fact, partOf, causedBy: id }))
        }
      })), { discard: true }))
})

/** Rented machines belong to the workspace that the cell was opened with. */
const opening = ({ answerByMs, oneTimeKeyDigest }: LeaseRequested, workspace: WorkspaceName | undefined) => ({
  _tag: "Open",
  workspace: workspace ?? ("main" as WorkspaceName),
  oneTimeKeyDigest,
  openedBy: "service:broker" as Principal,
  expiresAtMs: answerByMs + bootMsMax
} as const)
