import { type ActionName, decisionMade, resourceOf } from "@millrace/authority"
import { type AsOf, MomentMalformed, pastOf, read, type Reading, type ReadOptions } from "@millrace/readmodel"
import { type Cut, cutFrom, type Digest, Reach, type StreamName } from "@millrace/schemas"
import { askOf, Authority, BadRequest, Caller, Forbidden, NotFound, Unavailable } from "@millrace/service"
import { Clock, Effect, Schema } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { sql } from "kysely"
import { hash } from "node:crypto"
import { type DecisionRow, type DecisionTables, decisions } from "../projections/decisions.ts"
import { grantHistory, type GrantRow, grants, type GrantTables } from "../projections/grants.ts"
import { credentialHistory, principalHistory, principals, type PrincipalTables } from "../projections/principals.ts"
import { Register } from "../reactors/register.ts"
import { Api } from "./api.ts"
import type { DecisionView, GrantView } from "./reads.ts"

/** How many rows a page has unless told. */
const pageRows = 100
/** How long a refusal waits for the log, in ms. */
const tellMsMax = 5_000

/** Answers from access's own tables, for those who may look. */
export const ReadsLive = HttpApiBuilder.group(Api, "reads", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const { say } = yield* Register

  /** The caller's workspace, if it may look there; a refusal is in the audit before it is answered. */
  const looking = Effect.fnUntraced(function*(action: ActionName, ...within: ReadonlyArray<string>) {
    const caller = yield* Caller
    const ask = askOf(caller, { action, resource: resourceOf(caller.workspace, ...within) })
    const decided = yield* authority.decide(ask)
    if (decided.decision.verdict === "allow") return caller.workspace
    const argumentsDigest = `sha256:${hash("sha256", `${action} ${ask.resource}`, "hex")}` as Digest
    yield* say(() => ({
      subject: { kind: "decision", scope: "access" },
      actor: caller.principal,
      facts: [{ event: decisionMade({ point: "access", argumentsDigest, ...decided, ...caller.parent }) }]
    })).pipe(Effect.timeout(tellMsMax), Effect.mapError(() => silent))
    const { missing, rule } = decided.decision
    return yield* new Forbidden({
      code: "capability_missing",
      what: `${caller.principal} may not do ${action} (${rule})`,
      where: missing?.narrowedBy ?? `workspace ${caller.workspace}`,
      remedy: `ask an owner for a grant that gives ${action} on ${ask.resource}; this refusal is in the audit`,
      ...(missing === undefined ? {} : { missing })
    })
  })

  return handlers.handleAll({
    grants: ({ query }) =>
      Effect.gen(function*() {
        const workspace = yield* looking("grant.read")
        const { atMs, options } = yield* when(query, ["ACCESS"])
        const limit = query.limit ?? pageRows
        const { cut, value } = yield* from(read(grants, ({ db, valid }: Reading<GrantTables>) => {
          let rows = db.selectFrom("grants").selectAll().where("workspace", "=", workspace).where(valid(grantHistory))
          if (query.holder !== undefined) rows = rows.where("holder", "=", query.holder)
          if (query.cursor !== undefined) rows = rows.where("grant_id", "<", query.cursor)
          if (query.state !== undefined) rows = rows.where(stateSql(atMs), "=", query.state)
          return rows.orderBy("grant_id", "desc").limit(limit + 1).execute()
        }, options))
        return { grants: value.slice(0, limit).map((row) => grantView(row, atMs)), next: value.length > limit ? value[limit - 1]!.grant_id : null, cut }
      }),
    grant: ({ params: { grantId }, query }) =>
      Effect.gen(function*() {
        const workspace = yield* looking("grant.read", "grant", /^grt_[0-9A-Z]{26}$/u.test(grantId) ? grantId : "unknown")
        const { atMs, options } = yield* when(query, ["ACCESS"])
        const { cut, value } = yield* from(read(grants, async ({ db, valid }: Reading<GrantTables>) => {
          const known = await db.selectFrom("grants").selectAll().where("grant_id", "=", grantId).where("workspace", "=", workspace).where(valid(grantHistory)).executeTakeFirst()
          if (known === undefined) return undefined
          const tree = await db.selectFrom("grants").selectAll().where("tree", "=", known.tree).where(valid(grantHistory)).execute()
          return { known, tree }
        }, options))
        if (value === undefined) return yield* noSuchGrant(grantId)
        const path = pathTo(value.known, value.tree).map((row) => grantView(row, atMs))
        const children = value.tree.filter(({ parent }) => parent === grantId).map((row) => row.grant_id as never)
        return { grant: grantView(value.known, atMs), path, children, holds: path.every(({ state }) => state === "in_force"), cut }
      }),
    principals: ({ query }) =>
      Effect.gen(function*() {
        const workspace = yield* looking("principal.read")
        const { options } = yield* when(query, ["ACCESS"])
        const limit = query.limit ?? pageRows
        const { cut, value } = yield* from(read(principals, async ({ db, valid }: Reading<PrincipalTables>) => {
          let named = db.selectFrom("principals").selectAll().where("workspace", "=", workspace).where(valid(principalHistory))
          if (query.cursor !== undefined) named = named.where("principal", ">", query.cursor)
          const rows = await named.orderBy("principal").limit(limit + 1).execute()
          const tokens = rows.length === 0 ? [] : await db.selectFrom("credentials").selectAll().where("workspace", "=", workspace).where(valid(credentialHistory))
            .where("principal", "in", rows.map(({ principal }) => principal)).orderBy("expires_at_ms").execute()
          return { rows, tokens }
        }, options))
        const views = value.rows.slice(0, limit).map(({ principal, roles }) => ({
          principal,
          roles,
          tokens: value.tokens.filter((token) => token.principal === principal).map((token) => ({
            digest: token.credential_digest,
            grant: token.grant_id,
            expiresAtMs: Number(token.expires_at_ms),
            issuedBy: token.issued_by,
            revokedBy: token.revoked_by
          }))
        }))
        return { principals: views, next: value.rows.length > limit ? value.rows[limit - 1]!.principal : null, cut }
      }),
    decisions: ({ query }) =>
      Effect.gen(function*() {
        const workspace = yield* looking("decision.read")
        const { at, options } = yield* when(query, decisions.hears)
        const limit = query.limit ?? pageRows
        const { cut, value } = yield* from(read(decisions, ({ db }: Reading<DecisionTables>) => {
          let rows = db.selectFrom("decisions").selectAll().where("workspace", "=", workspace)
          for (const [column, wanted] of [["verdict", query.verdict], ["principal", query.principal], ["action", query.action], ["job_id", query.jobId]] as const) {
            if (wanted !== undefined) rows = rows.where(column, "=", wanted)
          }
          if (query.cursor !== undefined) rows = rows.where("id", "<", query.cursor)
          if (at !== undefined) rows = rows.where(({ and, eb, or }) => or(decisions.hears.map((stream) => and([eb("stream", "=", stream), eb("sequence", "<=", String(at[stream] ?? 0))]))))
          return rows.orderBy("id", "desc").limit(limit + 1).execute()
          // A decision never changes: what was decided by then is what lies up to there.
        }, at === undefined ? options : { ...options, after: { ...options.after, ...at } }))
        return { decisions: value.slice(0, limit).map(decisionView), next: value.length > limit ? value[limit - 1]!.id : null, cut: at ?? cut }
      })
  })
}))

/** Which rows are read, and the moment that their ends are compared with. */
const when = Effect.fnUntraced(function*({ after, at, waitMs }: AsOf, streams: ReadonlyArray<StreamName>) {
  const nowMs = yield* Clock.currentTimeMillis
  const moment = at === undefined ? undefined : yield* from(pastOf(at, streams))
  const options: ReadOptions = {
    ...(after === undefined ? {} : { after: cutFrom(after) ?? {} }),
    ...(moment === undefined || streams.length > 1 ? {} : { at: moment.cut }),
    ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
  }
  return { atMs: moment?.atMs ?? nowMs, at: moment?.cut as Cut | undefined, options }
})

const from = <A, E extends { readonly _tag: string; readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.mapError(effect, (error) => error instanceof MomentMalformed ? new BadRequest(error.words) : new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "access's tables",
    remedy: "ask again in a moment; nothing that was answered is lost"
  }))

const silent = new Unavailable({ code: "log_unavailable", what: "the log did not take the refusal in time", where: "the cell's log", remedy: "ask again in a moment" })

const noSuchGrant = (grantId: string) =>
  new NotFound({ code: "grant_unknown", what: `there is no grant ${grantId.slice(0, 100)}`, where: "this workspace", remedy: "list your grants with: millrace grants" })

const stateSql = (atMs: number) => sql<string>`case
  when revoked_by is not null then 'revoked'
  when (reach->>'expiresAtMs')::bigint <= ${atMs} then 'over'
  when suspended_by is not null then 'suspended'
  when (reach->>'notBeforeMs')::bigint > ${atMs} then 'not_yet'
  else 'in_force' end`

const decodeReach = Schema.decodeUnknownSync(Reach)

const grantView = (row: GrantRow, atMs: number): GrantView => {
  const reach = decodeReach(row.reach)
  const state = row.revoked_by !== null ? "revoked"
    : reach.expiresAtMs <= atMs ? "over"
    : row.suspended_by !== null ? "suspended"
    : reach.notBeforeMs > atMs ? "not_yet" : "in_force"
  return {
    grantId: row.grant_id, tree: row.tree, parent: row.parent, depth: row.depth, holder: row.holder, issuer: row.issuer, account: row.account,
    reach, durable: row.durable, reason: row.reason, state, changedBy: row.revoked_by ?? row.suspended_by, cause: row.cause
  }
}

const pathTo = (leaf: GrantRow, tree: ReadonlyArray<GrantRow>): ReadonlyArray<GrantRow> => {
  const above = tree.find(({ grant_id }) => grant_id === leaf.parent)
  return above === undefined || above.depth >= leaf.depth ? [leaf] : [...pathTo(above, tree), leaf]
}

const decisionView = (row: DecisionRow): DecisionView => ({
  id: row.id, point: row.point, principal: row.principal, action: row.action, resource: row.resource, grant: row.grant_id, verdict: row.verdict,
  rule: row.rule, reason: row.reason, missing: row.missing as DecisionView["missing"], grantPath: row.grant_path, jobId: row.job_id, hostId: row.host_id,
  view: row.view, viewAgeMs: Number(row.view_age_ms), decidedAtMs: Number(row.decided_at_ms), stream: row.stream, sequence: Number(row.sequence)
})
