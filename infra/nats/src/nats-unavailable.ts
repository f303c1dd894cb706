import { Schema } from "effect"

const REMEDY = {
  not_found: "run npm start once, which fetches one, or name one in MILLRACE_NATS_SERVER",
  too_old: "remove it from PATH or replace it; npm start then fetches a newer one",
  folder_unusable: "make the folder writable for this user, or name another one",
  held_by_another: "stop that Millrace first, or give this one a store folder of its own",
  would_not_start: "read the lines above and nats-server.log in the store folder",
  ended: "start it again; what was acknowledged is on disk",
  not_ready: "see whether a majority of the cluster's servers runs"
} as const

/** nats-server cannot serve from this store folder. */
export class NatsUnavailable extends Schema.TaggedError<NatsUnavailable>()("NatsUnavailable", {
  reason: Schema.Literals(["not_found", "too_old", "folder_unusable", "held_by_another", "would_not_start", "ended", "not_ready"]),
  storeDir: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `nats-server cannot serve from ${this.storeDir} (${this.reason}): ${this.detail}. Remedy: ${REMEDY[this.reason]}.`
  }
}
