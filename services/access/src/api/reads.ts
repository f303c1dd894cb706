import { Authentication, BadRequest, Forbidden, NotFound, Unavailable, Wellformed } from "@millrace/service"
import { MomentText } from "@millrace/readmodel"
import { Count, Cut, CutText, EpochMillis, GrantId, MissingCapability, Reach, Role } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

const Limit = Schema.NumberFromString.pipe(Schema.check(Schema.isInt()), Schema.check(Schema.isBetween({ minimum: 1, maximum: 1000 })))
const Wait = Schema.NumberFromString.pipe(Schema.check(Schema.isInt()), Schema.check(Schema.isBetween({ minimum: 0, maximum: 30_000 })))

/** `after` is a cut that the rows must have reached, `at` a moment that they are of, `cursor` where the page before ended. */
const read = { after: Schema.optionalKey(CutText), at: Schema.optionalKey(MomentText), waitMs: Schema.optionalKey(Wait) }
const page = { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(Schema.String.pipe(Schema.check(Schema.isMaxLength(100)))) }

/** How a grant stands by its own name; whether it `holds` depends on every link above it too. */
export const GrantState = Schema.Literals(["in_force", "suspended", "revoked", "over", "not_yet"])

export const GrantView = Schema.Struct({
  grantId: Schema.String,
  tree: Schema.String,
  parent: Schema.NullOr(Schema.String),
  depth: Count,
  holder: Schema.String,
  issuer: Schema.String,
  account: Schema.NullOr(Schema.String),
  reach: Reach,
  durable: Schema.Boolean,
  reason: Schema.String,
  state: GrantState,
  /** Who let it rest or ended it, and why. */
  changedBy: Schema.NullOr(Schema.String),
  cause: Schema.NullOr(Schema.String)
})
export type GrantView = typeof GrantView.Type

export const PrincipalView = Schema.Struct({
  principal: Schema.String,
  roles: Schema.Array(Role),
  tokens: Schema.Array(Schema.Struct({
    digest: Schema.String,
    grant: Schema.NullOr(Schema.String),
    expiresAtMs: EpochMillis,
    issuedBy: Schema.String,
    revokedBy: Schema.NullOr(Schema.String)
  }))
})
export type PrincipalView = typeof PrincipalView.Type

export const DecisionView = Schema.Struct({
  id: Schema.String,
  point: Schema.String,
  principal: Schema.String,
  action: Schema.String,
  resource: Schema.String,
  grant: Schema.NullOr(Schema.String),
  verdict: Schema.String,
  rule: Schema.String,
  reason: Schema.String,
  missing: Schema.NullOr(MissingCapability),
  grantPath: Schema.Array(Schema.String),
  jobId: Schema.NullOr(Schema.String),
  hostId: Schema.NullOr(Schema.String),
  view: Cut,
  viewAgeMs: Count,
  decidedAtMs: EpochMillis,
  stream: Schema.String,
  sequence: Count
})
export type DecisionView = typeof DecisionView.Type

const next = { next: Schema.NullOr(Schema.String), cut: Cut }
const error = [BadRequest, Forbidden, Unavailable] as const

/** Who may do what, and what was decided: now, or as it was. */
export class Reads extends HttpApiGroup.make("reads")
  .add(
    HttpApiEndpoint.get("grants", "/grants", {
      query: { ...read, ...page, holder: Schema.optionalKey(Schema.String), state: Schema.optionalKey(GrantState) },
      success: Schema.Struct({ grants: Schema.Array(GrantView), ...next }),
      error
    }),
    HttpApiEndpoint.get("grant", "/grants/:grantId", {
      params: { grantId: Schema.String },
      query: read,
      success: Schema.Struct({
        grant: GrantView,
        /** From the root to the grant itself. */
        path: Schema.Array(GrantView),
        /** Grants that were delegated from it directly. */
        children: Schema.Array(GrantId),
        /** Whether it holds: every link of its path is in force. */
        holds: Schema.Boolean,
        cut: Cut
      }),
      error: [...error, NotFound]
    }),
    HttpApiEndpoint.get("principals", "/principals", { query: { ...read, ...page }, success: Schema.Struct({ principals: Schema.Array(PrincipalView), ...next }), error }),
    HttpApiEndpoint.get("decisions", "/decisions", {
      query: {
        ...read, ...page,
        verdict: Schema.optionalKey(Schema.Literals(["allow", "deny"])),
        principal: Schema.optionalKey(Schema.String),
        action: Schema.optionalKey(Schema.String),
        jobId: Schema.optionalKey(Schema.String)
      },
      success: Schema.Struct({ decisions: Schema.Array(DecisionView), ...next }),
      error
    })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}
