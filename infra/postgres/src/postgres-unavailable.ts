import { Schema } from "effect"

const REMEDY = {
  folder_unusable: "make the folder writable for this user, or name another one",
  held_by_another: "stop that Millrace first, or give this one a data folder of its own",
  would_not_start: "read the lines above; if the data is damaged, move the folder away and the read models are built again from the journal"
} as const

/** PostgreSQL cannot serve from this data folder. */
export class PostgresUnavailable extends Schema.TaggedError<PostgresUnavailable>()("PostgresUnavailable", {
  reason: Schema.Literals(["folder_unusable", "held_by_another", "would_not_start"]),
  dataDir: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `PostgreSQL cannot serve from ${this.dataDir} (${this.reason}): ${this.detail}. Remedy: ${REMEDY[this.reason]}.`
  }
}
