import { projection } from "@millrace/readmodel"
import { encodeFact, type MillFact } from "@millrace/schemas"
import { sql } from "kysely"

export interface StoryRow {
  readonly part_of: string
  readonly stream: string
  readonly sequence: string
  readonly ordinal: number
  readonly id: string
  readonly name: string
  readonly actor: string
  readonly caused_by: string | null
  readonly stored_at_ms: string
  readonly body: Record<string, unknown>
}

export interface StoryTables {
  readonly stories: StoryRow
}

/** Every fact that belongs to a job's story, as it was said. Answers "what happened, and because of what". */
export const stories = projection<StoryTables>()<MillFact>({
  name: "gateway.stories",
  version: 1,
  hears: ["GATEWAY", "SCHEDULER", "HOSTS"],
  tables: (schema) => [
    schema.createTable("stories")
      .addColumn("part_of", "text", (column) => column.notNull())
      .addColumn("stream", "text", (column) => column.notNull())
      .addColumn("sequence", "bigint", (column) => column.notNull())
      .addColumn("ordinal", "integer", (column) => column.notNull())
      .addColumn("id", "text", (column) => column.notNull())
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("actor", "text", (column) => column.notNull())
      .addColumn("caused_by", "text")
      .addColumn("stored_at_ms", "bigint", (column) => column.notNull())
      .addColumn("body", "jsonb", (column) => column.notNull())
      .addPrimaryKeyConstraint("stories_pk", ["part_of", "stream", "sequence", "ordinal"])
  ],
  apply: async (tx, facts) => {
    const rows = facts.filter(({ event }) => "jobId" in event).map(({ causedBy, commit, event, id, name, ordinal, partOf }) => ({
      part_of: partOf,
      stream: commit.place.stream,
      sequence: commit.place.sequence,
      ordinal,
      id,
      name,
      actor: commit.actor,
      caused_by: causedBy ?? null,
      stored_at_ms: commit.place.storedAtMs,
      body: told(event)
    }))
    if (rows.length === 0) return
    await sql`
      insert into stories (part_of, stream, sequence, ordinal, id, name, actor, caused_by, stored_at_ms, body)
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as told(
        part_of text, stream text, sequence bigint, ordinal integer, id text, name text, actor text, caused_by text, stored_at_ms bigint, body jsonb)
      on conflict do nothing
    `.execute(tx)
  }
})

/** The body without what only the log needs to keep: the sealed program is large, and nobody reads it here. */
const told = (event: MillFact): Record<string, unknown> => {
  const { body } = encodeFact(event)
  if (event._tag !== "JobSubmitted" && event._tag !== "PlacementMade") return body
  const { program: _, ...spec } = body["spec"] as Record<string, unknown>
  return { ...body, spec }
}
