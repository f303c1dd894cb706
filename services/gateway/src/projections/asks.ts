import { encodeFact, type MillFact } from "@millrace/schemas"
import { sql } from "kysely"
import { askNames, answerNames } from "../domain/asks.ts"
import { part } from "./part.ts"

/** One ask of somebody, with its owner's answer once there is one. */
export interface AskRow {
  readonly ask_id: string
  readonly workspace: string
  readonly name: string | null
  readonly asked_by: string | null
  readonly asked_at_ms: number | null
  /** The ask's fact, and what it says. */
  readonly fact_id: string | null
  readonly asked_sequence: number | null
  readonly asked: Record<string, unknown> | null
  readonly answer: string | null
  readonly answer_body: Record<string, unknown> | null
  readonly answer_stream: string | null
  readonly answer_sequence: number | null
  readonly answered_at_ms: number | null
}

export interface AskTables {
  readonly asks: AskRow
}

/** Every ask and its answer. Answers "was what I asked for done, and if not, why". */
export const asks = part<AskTables>()<MillFact>({
  hears: ["GATEWAY", "ACCESS", "METERING", "SNAPSHOTS", "SCHEDULER"],
  only: [...askNames, ...answerNames],
  tables: (schema) => [
    schema.createTable("asks")
      .addColumn("ask_id", "text", (column) => column.primaryKey())
      .addColumn("workspace", "text", (column) => column.notNull())
      .addColumn("name", "text")
      .addColumn("asked_by", "text")
      .addColumn("asked_at_ms", "bigint")
      .addColumn("fact_id", "text")
      .addColumn("asked_sequence", "bigint")
      .addColumn("asked", "jsonb")
      .addColumn("answer", "text")
      .addColumn("answer_body", "jsonb")
      .addColumn("answer_stream", "text")
      .addColumn("answer_sequence", "bigint")
      .addColumn("answered_at_ms", "bigint")
  ],
  apply: async (tx, facts) => {
    const rows = new Map<string, Record<string, unknown>>()
    for (const { commit, event, id } of facts) {
      const { sequence, storedAtMs, stream } = commit.place
      if ("askId" in event) {
        rows.set(event.askId, {
          ...rows.get(event.askId),
          ask_id: event.askId,
          workspace: event.workspace,
          name: event._tag,
          asked_by: event.askedBy,
          asked_at_ms: storedAtMs,
          fact_id: id,
          asked_sequence: sequence,
          asked: encodeFact(event).body
        })
      } else if ("answers" in event && event.answers !== undefined) {
        rows.set(event.answers, {
          ...rows.get(event.answers),
          ask_id: event.answers,
          workspace: "workspace" in event ? event.workspace : commit.subject.scope,
          answer: event._tag,
          answer_body: encodeFact(event).body,
          answer_stream: stream,
          answer_sequence: sequence,
          answered_at_ms: storedAtMs
        })
      }
    }
    if (rows.size === 0) return
    // The first ask of an id stands, and so does its first answer.
    await sql`
      insert into asks as known (ask_id, workspace, name, asked_by, asked_at_ms, fact_id, asked_sequence, asked, answer, answer_body, answer_stream, answer_sequence, answered_at_ms)
      select * from jsonb_to_recordset(${JSON.stringify([...rows.values()])}::text::jsonb) as told(
        ask_id text, workspace text, name text, asked_by text, asked_at_ms bigint, fact_id text, asked_sequence bigint, asked jsonb,
        answer text, answer_body jsonb, answer_stream text, answer_sequence bigint, answered_at_ms bigint)
      on conflict (ask_id) do update set
        workspace = case when excluded.name is null then known.workspace else excluded.workspace end,
        name = coalesce(known.name, excluded.name),
        asked_by = coalesce(known.asked_by, excluded.asked_by),
        asked_at_ms = coalesce(known.asked_at_ms, excluded.asked_at_ms),
        fact_id = coalesce(known.fact_id, excluded.fact_id),
        asked_sequence = coalesce(known.asked_sequence, excluded.asked_sequence),
        asked = coalesce(known.asked, excluded.asked),
        answer = coalesce(known.answer, excluded.answer),
        answer_body = coalesce(known.answer_body, excluded.answer_body),
        answer_stream = coalesce(known.answer_stream, excluded.answer_stream),
        answer_sequence = coalesce(known.answer_sequence, excluded.answer_sequence),
        answered_at_ms = coalesce(known.answered_at_ms, excluded.answered_at_ms)`.execute(tx)
  }
})
