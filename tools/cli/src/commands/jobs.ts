import type { JobView } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { parseCut } from "../cut.ts"
import { type ApiGiven, apiFlags, apiUrl, type OpenDoor, openDoor } from "../door.ts"
import { note, type Output, output, say, sayJson, table, telling } from "../print.ts"
import { cutText, storyText } from "../story.ts"
import { follow } from "./follow.ts"

const after = Flag.String("after").pipe(
  Flag.filterMap((text) => Option.fromUndefinedOr(parseCut(text)), (text) => `${JSON.stringify(text)} is not a cut such as GATEWAY=12`),
  Flag.withMetavar("cut"),
  Flag.withDescription("wait until the answer holds this cut, such as GATEWAY=12"),
  Flag.optional
)
const jobId = Argument.String("job").pipe(Argument.withDescription("the job's id"))

const query = (cut: Option.Option<Cut>) => Option.match(cut, { onNone: () => ({}), onSome: (after) => ({ after: cutText(after), waitMs: 5_000 }) })

/** Runs a command's question with an open door, and says what goes wrong. */
const asking = <A, E, R>(given: ApiGiven & { readonly output: Output }, ask: (door: OpenDoor) => Effect.Effect<A, E, R>) =>
  telling(Effect.flatMap(openDoor(given), ask), { format: given.output, url: apiUrl(given) })

export const story = Command.make("story", {
  job: jobId,
  follow: Flag.Boolean("follow").pipe(Flag.withAlias("f"), Flag.withoutNegation, Flag.withDescription("go on until the story is over"), Flag.withDefault(false)),
  after,
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    if (given.follow) return yield* Effect.asVoid(follow(client, given.job, { format: given.output }))
    const told = yield* client.jobs.story({ params: { jobId: given.job }, query: query(given.after) })
    if (given.output === "json") return sayJson(told)
    for (const line of told.lines.map(storyText())) say(line)
    if (!told.over) note(`The story goes on: millrace story ${given.job} --follow`)
  }))).pipe(
  Command.withDescription("Tell a job's story: every fact of it, causes before what they caused."),
  Command.withShortDescription("what happened to a job, and why"),
  Command.withExamples([
    { command: "millrace story JOB", description: "What has happened so far" },
    { command: "millrace story JOB --follow", description: "Come back to a job, until it is over" }
  ])
)

export const ls = Command.make("ls", {
  limit: Flag.Int("limit").pipe(
    Flag.filter((limit) => limit >= 1 && limit <= 1000, (limit) => `${limit} is not a number from 1 to 1000`),
    Flag.withDescription("how many at most, 1 to 1000 (100)"),
    Flag.withDefault(100)
  ),
  after,
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const answer = yield* client.jobs.list({ query: { ...query(given.after), limit: given.limit } })
    if (given.output === "json") return sayJson(answer)
    say(table(["JOB", "STATE", "ATTEMPT", "SUBMITTED", "HOST", "BECAUSE"], answer.jobs.map((job) => [
      job.jobId, job.state, String(job.attempt), timeText(job.submittedAtMs), job.hostId ?? "-", job.because ?? "-"
    ])))
  }))).pipe(
  Command.withDescription("List the workspace's jobs, the newest first."),
  Command.withShortDescription("list jobs"),
  Command.withExamples([
    { command: "millrace ls --limit 10", description: "The ten newest" },
    { command: "millrace ls -o json | jq -r '.jobs[] | select(.state == \"failed\") | .jobId'", description: "Every failed one" }
  ])
)

export const show = Command.make("show", { job: jobId, after, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const answer = yield* client.jobs.show({ params: { jobId: given.job }, query: query(given.after) })
    if (given.output === "json") return sayJson(answer)
    for (const [name, value] of fieldsOf(answer.job)) say(`${name.padEnd(14)}${value}`)
  }))).pipe(
  Command.withDescription("Show where one job stands, and why."),
  Command.withShortDescription("where a job stands"),
  Command.withExamples([{ command: "millrace show JOB", description: "State, host, exit code and cause" }])
)

export const cancel = Command.make("cancel", { job: jobId, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const { cut } = yield* client.jobs.cancel({ params: { jobId: given.job } })
    if (given.output === "json") return sayJson({ jobId: given.job, cut })
    note(`Its end is asked for. Watch it come with: millrace story ${given.job} --follow`)
  }))).pipe(
  Command.withDescription("Ask for a job's end. It may have ended already; asking twice changes nothing."),
  Command.withShortDescription("ask for a job's end"),
  Command.withExamples([{ command: "millrace cancel JOB", description: "Whatever state it is in" }])
)

export const outputOf = Command.make("output", {
  job: jobId,
  name: Argument.String("name").pipe(Argument.withDescription("stdout, stderr, or an artefact's name (stdout)"), Argument.withDefault("stdout")),
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const [bytes, answer] = yield* given.name === "stdout" || given.name === "stderr"
      ? client.bytes.output({ params: { jobId: given.job, name: given.name }, query: {}, responseMode: "decoded-and-response" })
      : client.bytes.artefact({ params: { jobId: given.job, name: given.name }, query: {}, responseMode: "decoded-and-response" })
    const droppedBytes = Number(answer.headers["millrace-dropped-bytes"] ?? 0)
    if (given.output === "json") {
      const whole = yield* Stream.mkUint8Array(bytes)
      return sayJson({ name: given.name, base64: Buffer.from(whole).toString("base64"), droppedBytes })
    }
    yield* Stream.runForEach(bytes, written)
    if (droppedBytes > 0) note(`${droppedBytes} more bytes were dropped: the output is larger than what is kept.`)
  }))).pipe(
  Command.withDescription("Write what a job printed or kept to stdout, byte by byte."),
  Command.withShortDescription("what a job printed or kept"),
  Command.withExamples([
    { command: "millrace output JOB", description: "What it printed" },
    { command: "millrace output JOB stderr", description: "What it complained of" }
  ])
)

/** Writes a piece, and waits while whoever reads it is slower. */
const written = (piece: Uint8Array) => Effect.callback<void>((resume) => {
  process.stdout.write(piece, () => resume(Effect.void))
})

const timeText = (atMs: number): string => new Date(atMs).toISOString()

const fieldsOf = (job: JobView): ReadonlyArray<readonly [string, string]> => [
  ["job", job.jobId],
  ["state", job.state],
  ["because", job.because ?? "-"],
  ["submitted", `${timeText(job.submittedAtMs)} by ${job.submittedBy}`],
  ["attempt", String(job.attempt)],
  ["host", job.hostId ?? "-"],
  ["exit code", job.exitCode === null ? "-" : String(job.exitCode)],
  ["settled", job.settledAtMs === null ? "-" : timeText(job.settledAtMs)]
]
