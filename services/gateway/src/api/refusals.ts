import { moneyText } from "@millrace/pricing"
import type { MissingCapability } from "@millrace/schemas"
import type { EntranceRefusal } from "../reactors/entrance.ts"
import type { NotAllowed, RefusalUntold, ViewStale } from "../reactors/gate.ts"
import { BadRequest, cellTrouble, Conflict, Forbidden, logSilent, TooLarge, Unavailable } from "./errors.ts"

/** A refusal at the gate, as it is answered. */
export const refusalOf = (error: NotAllowed | ViewStale | RefusalUntold): Forbidden | Unavailable => {
  switch (error._tag) {
    case "NotAllowed":
      return notAllowed(error)
    case "ViewStale":
      return new Unavailable({
        code: "stale_view",
        what: `who may do what was last known ${Math.round(error.ageMs / 1000)} s ago, which is too long ago to allow anything`,
        where: "the gateway's view of access",
        remedy: "ask again in a moment; if it lasts, look whether access and the log run: millrace doctor"
      })
    case "RefusalUntold":
      return logSilent
  }
}

/** Why a submission was not taken, as it is answered. */
export const submissionRefusal = (error: EntranceRefusal): BadRequest | Forbidden | Conflict | TooLarge | Unavailable => {
  switch (error._tag) {
    case "RequestUnfit": {
      const { code, remedy, what, where } = error
      return code === "program_too_large" ? new TooLarge({ code, what, where, remedy }) : new BadRequest({ code, what, where, remedy })
    }
    case "IdempotencyMismatch":
      return new Conflict({
        code: "idempotency_mismatch",
        what: error.message,
        where: "the Idempotency-Key header",
        remedy: "send the first request again unchanged, or choose another key"
      })
    case "CommitRefused":
      return cellTrouble(error.reason, error.message)
    case "JournalUnavailable":
      return logSilent
    case "KeyringUnavailable":
      return cellTrouble("keyring_unavailable", error.message)
    default:
      return refusalOf(error)
  }
}

const notAllowed = ({ action, capability, principal, reason, rule, workspace }: NotAllowed): Forbidden => {
  switch (rule) {
    case "agents-vouch-for-nothing":
      return new Forbidden({
        code: "trust_not_given",
        what: `${principal} cannot vouch for work: trust "own" is for people`,
        where: "trust",
        remedy: "leave trust away: the work is isolated then"
      })
    case "others-are-isolated":
      return new Forbidden({
        code: "isolation_needed",
        what: "work that nobody vouches for is no plain process: that isolates nothing",
        where: "runtime",
        remedy: "leave runtime away: the work is isolated then"
      })
    case "acts-under-grant":
      return new Forbidden({
        code: "acts_under_grant",
        what: `${principal} acts under a grant here, and ${action} is given by roles alone`,
        where: "the token",
        remedy: "hand a part of the grant on instead, or let somebody ask whose token is bound to no grant"
      })
    case "not-the-cells-workspace":
      return new Forbidden({
        code: "operator_of_cell",
        what: `${principal} may not do ${action} from workspace ${workspace}: it concerns all workspaces of the cell, and those who operate the cell do so from ${capability?.needs ?? "the one that it began with"}`,
        where: `workspace ${workspace}`,
        remedy: `ask with a token of that workspace, as its owner or with the role operator there: millrace principals bind ${principal} operator; this refusal is in the audit`,
        ...(capability === undefined ? {} : { missing: capability })
      })
    default:
      return new Forbidden({
        code: "capability_missing",
        what: `${principal} may not do ${action}: ${reasonText(reason, capability)}`,
        where: capability?.narrowedBy === undefined ? `workspace ${workspace}` : capability.narrowedBy,
        remedy: remedyFor(principal, capability),
        ...(capability === undefined ? {} : { missing: capability })
      })
  }
}

const reasonText = (reason: string, missing: MissingCapability | undefined): string => {
  const limit = missing?.limit === undefined
    ? ""
    : ` (${missing.limit}: ${shown(missing.limit, missing.needs)} is needed, ${shown(missing.limit, missing.has)} is given)`
  return `${reasons[reason] ?? reason}${limit}`
}

const shown = (limit: string, value: string | undefined): string =>
  value !== undefined && limit === "spendPicoMax" && /^[0-9]+$/u.test(value) ? moneyText(BigInt(value)) : value ?? "nothing"

const reasons: Readonly<Record<string, string>> = {
  no_grant: "no grant of its own allows it",
  no_role: "no role of its own allows it",
  grant_over: "the grant is over or was revoked",
  grant_suspended: "the grant rests",
  grant_not_yet: "the grant has not begun",
  action: "the grant does not give this action",
  resource: "the grant does not reach this",
  constraint: "the grant's limits are smaller",
  depth: "the grant may not be handed on that far",
  uses: "the grant is used up",
  concurrency: "too much runs under the grant already",
  budget: "it would cost more than the grant may spend"
}

const remedyFor = (principal: string, missing: MissingCapability | undefined): string =>
  missing?.limit !== undefined
    ? "ask for less, or ask whoever issued the grant for another one; this refusal is in the audit"
    : missing?.action === "cell.operate"
    ? `ask an owner for the role operator, which no grant gives: millrace principals bind ${principal} operator; this refusal is in the audit`
    : `ask an owner for a grant that gives ${principal} ${missing?.action ?? "this"} on ${missing?.resource ?? "it"}; this refusal is in the audit`
