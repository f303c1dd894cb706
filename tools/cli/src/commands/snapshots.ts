import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import type { SnapshotView } from "../../../../services/snapshots/src/api/api.ts"
import { ask, sayAnswer } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, jobId, key, limit, queryOf, snapshotId, span, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { allFields, bytesText, fieldsText, orDash, timeText } from "../render.ts"

const lsFlags = {
  job: text("job", "only this job's"),
  stands: Flag.Literals("state", ["planned", "available", "abandoned", "expired"]).pipe(Flag.withDescription("only snapshots in this state"), Flag.optional),
  limit: limit(100),
  at,
  after,
  output,
  ...apiFlags
}

const listing = (given: Command.Command.Config.Infer<typeof lsFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, job, limit, stands } = given
    const answer = yield* origin.get<{ snapshots: ReadonlyArray<SnapshotView> }>("/v1/snapshots", queryOf({ after, at, job, limit, stands }))
    if (given.output === "json") return sayJson(answer)
    say(table(["SNAPSHOT", "STATE", "JOB", "SIZE", "SINCE", "UNTIL", "BECAUSE"], answer.snapshots.map((one) => [
      one.snapshotId, one.stands, orDash(one.jobId), one.sizeBytes === null ? "-" : bytesText(one.sizeBytes), timeText(one.availableAtMs ?? one.plannedAtMs),
      timeText(one.untilMs), orDash(one.because)
    ])))
  }))

const ls = Command.make("ls", lsFlags, listing).pipe(
  Command.withDescription("List snapshots, the newest first: now, or as they were."),
  Command.withShortDescription("list snapshots"),
  Command.withExamples([{ command: "millrace snapshots ls --job JOB --state available", description: "What a job can be started from" }])
)

const show = Command.make("show", { snapshot: snapshotId, at, after, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ snapshot: SnapshotView }>(`/v1/snapshots/${encodeURIComponent(given.snapshot)}`, queryOf({ after, at }))
    return given.output === "json" ? sayJson(answer) : say(fieldsText(allFields(answer.snapshot as never)))
  }))).pipe(
  Command.withDescription("Show one snapshot: now, or as it was."),
  Command.withShortDescription("one snapshot"),
  Command.withExamples([{ command: "millrace snapshots show SNAPSHOT", description: "Its state, size and digest" }])
)

const takeFlags = {
  job: jobId,
  keep: span("keep").pipe(Flag.withDescription("how long it is kept, such as 7d (until somebody expires it)"), Flag.optional),
  key,
  output,
  ...apiFlags
}

const take = Command.make("take", takeFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const retention = Option.match(given.keep, { onNone: () => ({}), onSome: (ms) => ({ retention: { untilMs: Date.now() + ms } }) })
    const answer = yield* ask(origin, "POST", "/v1/snapshots", { body: { jobId: given.job, ...retention }, key: Option.getOrUndefined(given.key) })
    sayAnswer(answer, given.output, "snapshotId")
    if (given.output === "text" && answer.answer !== undefined) note("It is planned; jobs can start from it once it is available.")
  }))).pipe(
  Command.withDescription("Keep a job's files as a snapshot that other jobs can start from. Prints its id."),
  Command.withShortDescription("keep a job's files"),
  Command.withExamples([{ command: "millrace snapshots take JOB --keep 7d", description: "For a week" }])
)

const expire = Command.make("expire", { snapshot: snapshotId, cause: text("cause", "why, for those who read it later"), key, output, ...apiFlags }, (given) =>
  asking(given, (origin) =>
    Effect.map(
      ask(origin, "DELETE", `/v1/snapshots/${encodeURIComponent(given.snapshot)}`, { query: queryOf({ cause: given.cause }), key: Option.getOrUndefined(given.key) }),
      (answer) => sayAnswer(answer, given.output)
    ))).pipe(
  Command.withDescription("Keep a snapshot no longer."),
  Command.withShortDescription("keep a snapshot no longer"),
  Command.withExamples([{ command: "millrace snapshots expire SNAPSHOT", description: "Its bytes are let go" }])
)

export const snapshots = Command.make("snapshots", lsFlags, listing).pipe(
  Command.withDescription("Kept states that jobs can start from (millrace run --from SNAPSHOT)."),
  Command.withShortDescription("kept states that jobs can start from"),
  Command.withSubcommands([ls, show, take, expire])
)
