import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { randomUUID } from "node:crypto"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { key, several } from "../flags.ts"
import type { Origin } from "../origin.ts"
import { note, output, say, sayJson } from "../print.ts"
import { argv, jobFlags, requestOf } from "../request.ts"
import { uploaded } from "../uploads.ts"
import { endOf, follow } from "./follow.ts"

/** What asks for a job now, beside what describes it. */
export const submitFlags = {
  ...jobFlags,
  file: several("file", "a file of this machine that lies beside the program: LOCAL, or LOCAL:/work/NAME", "file"),
  key,
  output,
  ...apiFlags,
  argv
}
export type SubmitGiven = Command.Command.Config.Infer<typeof submitFlags>

/** Submits what the flags ask for. A key of its own makes the request one that may be sent again when its answer is lost. */
export const submitted = Effect.fnUntraced(function*({ client }: Origin, given: SubmitGiven) {
  // Judged before anything is uploaded.
  yield* requestOf(given, given.argv)
  const payload = yield* requestOf(given, given.argv, yield* uploaded(client, given.file, note))
  const answer = yield* client.jobs.submit({ headers: { "idempotency-key": Option.getOrElse(given.key, () => randomUUID()) }, payload })
  if (answer.repeated && Option.isSome(given.key)) note(`This key has been used for the same request before: it is job ${answer.jobId}.`)
  return answer
})

const flags = {
  ...submitFlags,
  follow: Flag.Boolean("follow").pipe(
    Flag.withAlias("f"),
    Flag.withoutNegation,
    Flag.withDescription("tell its story until the end, and exit with how it ended"),
    Flag.withDefault(false)
  )
}

export const submit = Command.make("submit", flags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* submitted(origin, given)
    if (!given.follow) return given.output === "json" ? sayJson(answer) : say(answer.jobId)
    note(`Submitted ${answer.jobId} to ${origin.url}.`)
    const last = yield* follow(origin.client, answer.jobId, { after: answer.cut, format: given.output })
    return yield* endOf(origin.client, answer.jobId, { after: last, format: given.output })
  }))).pipe(
  Command.withDescription("Submit a job: a program and what it needs. Prints the job's id; from then on the job cannot be lost."),
  Command.withShortDescription("submit a job"),
  Command.withExamples([
    { command: "millrace submit -- sh -c 'echo hello; uname -r'", description: "Submit, and print the job's id" },
    { command: "millrace submit --follow --cpu 0.5 --memory 64MiB -- node train.mjs", description: "Watch its story to the end" },
    { command: "millrace submit --key nightly-2026-07-01 --attempts 3 -- ./report", description: "Once, however often it is typed" },
    { command: "millrace submit --tasks 100 --parallel 8 -- sh -c './part $MILLRACE_TASK'", description: "A hundred tasks, eight at a time" },
    { command: "millrace submit --after JOB --queue-limit 10m -- ./merge", description: "When JOB has succeeded, and there is a place within ten minutes" }
  ])
)
