import type { AskId, MillFact } from "@millrace/schemas"

type Tag = MillFact["_tag"]

/** A question to the service that owns the matter. */
export type Ask = Extract<MillFact, { readonly askId: AskId }>

/** What an asker says of a question; who asks, where and by which decision is the gateway's to add. */
export type Question = Ask extends infer One ? (One extends Ask ? Omit<One, "askId" | "workspace" | "askedBy" | "decision"> : never) : never

export const askNames = [
  "GrantAsked", "DelegationAsked", "SuspensionAsked", "ResumptionAsked", "RevocationAsked", "WarrantChangeAsked", "ApprovalVoted",
  "RoleAsked", "RoleRemovalAsked", "CredentialAsked", "CredentialRevocationAsked", "PolicyAsked", "EnrolmentAsked", "DismissalAsked",
  "BudgetAsked", "LimitAsked", "PriceBookAsked", "PeriodCloseAsked", "ExportAsked",
  "SnapshotAsked", "SnapshotExpiryAsked", "ImageAsked", "QuotaAsked", "PriorityAsked"
] as const satisfies ReadonlyArray<Ask["_tag"]>

/** Facts that may answer an ask. */
export const answerNames = [
  "AskRefused", "AskFoundDone",
  "GrantIssued", "GrantDelegated", "GrantSuspended", "GrantResumed", "GrantRevoked", "LinkRevoked", "WarrantRevoked", "WarrantNarrowed",
  "ApprovalGiven", "ApprovalWithheld", "RoleBound", "RoleUnbound", "CredentialIssued", "CredentialRevoked", "PolicyPublished",
  "EnrolmentOpened", "HostDismissed",
  "BudgetOpened", "LimitChanged", "PriceBookPublished", "PeriodClosed", "ExportWritten",
  "SnapshotPlanned", "SnapshotExpired", "ImageKnown", "QuotaSet", "QuotaLifted", "PriorityChanged"
] as const satisfies ReadonlyArray<Tag>

/** The stream in which a question is answered: its owner's. */
export const ownerOf = (name: Ask["_tag"]): "ACCESS" | "METERING" | "SNAPSHOTS" | "SCHEDULER" => {
  switch (name) {
    case "BudgetAsked":
    case "LimitAsked":
    case "PriceBookAsked":
    case "PeriodCloseAsked":
    case "ExportAsked":
      return "METERING"
    case "SnapshotAsked":
    case "SnapshotExpiryAsked":
    case "ImageAsked":
      return "SNAPSHOTS"
    case "QuotaAsked":
    case "PriorityAsked":
      return "SCHEDULER"
    default:
      return "ACCESS"
  }
}

/** What is made anew with each sending: two sendings that differ in nothing else ask the same. */
const passing = new Set(["askId", "decision", "credentialDigest", "oneTimeKeyDigest", "expiresAtMs", "notBeforeMs", "closesAtMs"])

/** Whether two questions are one, as far as their asker chose them. Both in the form that is stored. */
export const sameQuestion = (one: unknown, other: unknown): boolean => plain(one) === plain(other)

const plain = (asked: unknown): string =>
  JSON.stringify(asked, (key, value: unknown) =>
    passing.has(key)
      ? undefined
      : typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1)))
      : value)
