import { JobRequest } from "@millrace/gateway/api"
import { Effect, Option, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { apiFlags, apiUrl, openDoor } from "../door.ts"
import { note, output, say, sayJson, telling } from "../print.ts"
import { memoryMib, millis } from "../quantities.ts"
import { Trouble } from "../trouble.ts"
import { endOf, follow } from "./follow.ts"

const measured = (name: string, read: (text: string) => number | undefined, wants: string) =>
  Flag.String(name).pipe(Flag.filterMap((text) => Option.fromUndefinedOr(read(text)), (text) => `${JSON.stringify(text)} is not ${wants}`))

const flags = {
  runtime: Flag.Literals("runtime", ["process", "sandbox", "noop"]).pipe(
    Flag.withDescription("how it runs: a plain process, an isolated one, or not at all (process)"),
    Flag.withDefault("process" as const)
  ),
  trust: Flag.Literals("trust", ["own", "others"]).pipe(
    Flag.withDescription("who vouches for it; the work of others runs only where isolation is enforced (own)"),
    Flag.withDefault("own" as const)
  ),
  cpu: Flag.Finite("cpu").pipe(Flag.withMetavar("cores"), Flag.withDescription("cores, such as 0.5 (1)"), Flag.withDefault(1)),
  memory: measured("memory", memoryMib, "a size such as 256MiB or 2GiB").pipe(
    Flag.withMetavar("size"),
    Flag.withDescription("memory, such as 256MiB or 2GiB (256MiB)"),
    Flag.withDefault(256)
  ),
  gpus: Flag.Int("gpus").pipe(Flag.withDescription("whole GPUs (0)"), Flag.withDefault(0)),
  attempts: Flag.Int("attempts").pipe(Flag.withDescription("how often it may be tried (1)"), Flag.withDefault(1)),
  timeLimit: measured("time-limit", millis, "a length of time such as 90s or 10m").pipe(
    Flag.withMetavar("time"),
    Flag.withDescription("how long one attempt may run, such as 90s or 10m (1h)"),
    Flag.withDefault(3_600_000)
  ),
  env: Flag.KeyValuePair("env").pipe(Flag.withDescription("a variable of its environment; sealed in the log; may be repeated"), Flag.withDefault({})),
  label: Flag.KeyValuePair("label").pipe(Flag.withDescription("a label; sealed in the log; may be repeated"), Flag.withDefault({})),
  key: Flag.String("key").pipe(Flag.withDescription("an idempotency key: the same request under it is submitted once"), Flag.optional),
  follow: Flag.Boolean("follow").pipe(
    Flag.withAlias("f"),
    Flag.withoutNegation,
    Flag.withDescription("tell its story until the end, and exit with how it ended"),
    Flag.withDefault(false)
  ),
  output,
  ...apiFlags,
  argv: Argument.String("command").pipe(Argument.withDescription("the program and its arguments, behind --"), Argument.variadic({ min: 1 }))
}

export const submit = Command.make("submit", flags, Effect.fn(function*(given) {
  yield* telling(submitting(given), { format: given.output, url: apiUrl(given) })
})).pipe(
  Command.withDescription("Submit a job: a program and what it needs. Prints the job's id; from then on the job cannot be lost."),
  Command.withShortDescription("submit a job"),
  Command.withExamples([
    { command: "millrace submit -- sh -c 'echo hello; uname -r'", description: "Submit, and print the job's id" },
    { command: "millrace submit --follow --cpu 0.5 --memory 64MiB -- node train.mjs", description: "Watch its story to the end" },
    { command: "millrace submit --key nightly-2026-07-01 --attempts 3 -- ./report", description: "Once, however often it is typed" }
  ])
)

const submitting = Effect.fnUntraced(function*(given: Command.Command.Config.Infer<typeof flags>) {
  const { client, url } = yield* openDoor(given)
  const payload = yield* requestOf(given)
  const headers = Option.match(given.key, { onNone: () => ({}), onSome: (key) => ({ "idempotency-key": key }) })
  const answer = yield* client.jobs.submit({ headers, payload })
  if (answer.repeated) note(`This key has been used for the same request before: it is job ${answer.jobId}.`)
  if (!given.follow) return given.output === "json" ? sayJson(answer) : say(answer.jobId)
  note(`Submitted ${answer.jobId} to ${url}.`)
  const last = yield* follow(client, answer.jobId, { after: answer.cut, format: given.output })
  return yield* endOf(client, answer.jobId, { after: last, format: given.output })
})

/** What the flags ask for, judged here by the schema that the API judges by. */
const requestOf = (given: Command.Command.Config.Infer<typeof flags>): Effect.Effect<JobRequest, Trouble> =>
  Schema.decodeUnknownEffect(JobRequest)({
    runtime: given.runtime,
    trust: given.trust,
    resources: { cpuMilli: Math.round(given.cpu * 1000), memoryMib: given.memory, diskMib: 0, gpus: given.gpus },
    argv: given.argv,
    env: given.env,
    labels: given.label,
    attemptsMax: given.attempts,
    runMsMax: given.timeLimit
  }).pipe(Effect.mapError((error) =>
    new Trouble({ code: "request_malformed", what: error.message.replaceAll("\n", " "), where: "the command line", remedy: "see: millrace submit --help", ending: "usage" })))
