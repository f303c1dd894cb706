import { projection, speaksForItself } from "@millrace/readmodel"
import { type DecisionMade, encodeFact } from "@millrace/schemas"
import { sql } from "kysely"

export interface DecisionRow {
  readonly id: string
  readonly stream: string
  readonly sequence: string
  readonly ordinal: number
  readonly workspace: string
  readonly point: string
  readonly principal: string
  readonly action: string
  readonly resource: string
  readonly grant_id: string | null
  readonly verdict: string
  readonly rule: string
  readonly reason: string
  readonly missing: Record<string, string> | null
  readonly grant_path: ReadonlyArray<string>
  readonly job_id: string | null
  readonly host_id: string | null
  readonly view: Record<string, number>
  readonly view_age_ms: string
  readonly decided_at_ms: string
  readonly part_of: string
}

export interface DecisionTables {
  readonly decisions: DecisionRow
}

/** The audit: what every point has decided, one row a decision. Answers "who was refused what, and what was missing". */
export const decisions = projection<DecisionTables>()<DecisionMade>({
  name: "access.decisions",
  version: 2,
  hears: ["ACCESS", "GATEWAY", "SCHEDULER", "HOSTS"],
  only: ["DecisionMade"],
  tables: (schema) => [
    schema.createTable("decisions")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("stream", "text", (column) => column.notNull())
      .addColumn("sequence", "bigint", (column) => column.notNull())
      .addColumn("ordinal", "integer", (column) => column.notNull())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("point", "text", (column) => column.notNull())
      .addColumn("principal", "text", (column) => column.notNull())
      .addColumn("action", "text", (column) => column.notNull())
      .addColumn("resource", "text", (column) => column.notNull())
      .addColumn("grant_id", "text")
      .addColumn("verdict", "text", (column) => column.notNull())
      .addColumn("rule", "text", (column) => column.notNull())
      .addColumn("reason", "text", (column) => column.notNull())
      .addColumn("missing", "jsonb")
      .addColumn("grant_path", "jsonb", (column) => column.notNull())
      .addColumn("job_id", "text")
      .addColumn("host_id", "text")
      .addColumn("view", "jsonb", (column) => column.notNull())
      .addColumn("view_age_ms", "bigint", (column) => column.notNull())
      .addColumn("decided_at_ms", "bigint", (column) => column.notNull())
      .addColumn("part_of", "text", (column) => column.notNull()),
    schema.createIndex("decisions_newest").on("decisions").columns(["workspace", "id"])
  ],
  apply: async (tx, facts) => {
    // A host is a point of its own, and no other: what it says in the name of another point is nobody's decision.
    const rows = facts.filter(({ commit, event }) => speaksForItself(commit, event)).map(({ commit, event, id, ordinal, partOf }) => {
      const body = encodeFact(event).body as Record<string, unknown>
      return {
        id,
        stream: commit.place.stream,
        sequence: commit.place.sequence,
        ordinal,
        workspace: event.workspace,
        point: event.point,
        principal: event.request.principal,
        action: event.request.action,
        resource: event.request.resource,
        grant_id: event.request.grant ?? null,
        verdict: event.verdict,
        rule: event.rule,
        reason: event.reason,
        missing: body["missing"] ?? null,
        grant_path: event.grantPath,
        job_id: event.jobId ?? null,
        host_id: event.hostId ?? null,
        view: event.view,
        view_age_ms: event.viewAgeMs,
        decided_at_ms: event.decidedAtMs,
        part_of: partOf
      }
    })
    if (rows.length === 0) return
    await sql`insert into decisions select * from jsonb_populate_recordset(null::decisions, ${JSON.stringify(rows)}::text::jsonb) on conflict do nothing`.execute(tx)
  }
})
