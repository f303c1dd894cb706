import type { StoryLine } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { Effect, Fiber, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { asking } from "../asking.ts"
import type { ApiClient } from "../client.ts"
import { artefactsOf, downloaded } from "../downloads.ts"
import { switched } from "../flags.ts"
import { dollarsShort } from "../money.ts"
import { followOutput, type Said } from "../output.ts"
import { note, type Output, sayJson } from "../print.ts"
import { followStory, storyText } from "../story.ts"
import { detached, endedAs, standingAt } from "./follow.ts"
import { submitFlags, submitted } from "./submit.ts"

const flags = {
  ...submitFlags,
  artefacts: Flag.String("artefacts").pipe(
    Flag.withMetavar("folder"),
    Flag.withDescription("where to write what it leaves in its artefact folder (MILLRACE_ARTEFACTS), at its end"),
    Flag.optional
  ),
  quiet: switched("quiet", "its output alone, without its story")
}
type Given = Command.Command.Config.Infer<typeof flags>

export const run = Command.make("run", flags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { client, url } = origin
    const { cut, jobId } = yield* submitted(origin, given)
    note(`Submitted ${jobId} to ${url}.`)
    const last = yield* watched(client, jobId, cut, given).pipe(Effect.onInterrupt(() => Effect.sync(() => note(detached(jobId)))))
    const job = yield* standingAt(client, jobId, last)
    if (Option.isSome(given.artefacts)) {
      const files = yield* downloaded(client, jobId, given.artefacts.value, yield* artefactsOf(client, jobId))
      note(files.length === 0 ? "It left no artefacts." : `Its artefacts: ${files.join(", ")}`)
    }
    if (given.output === "json") sayJson({ kind: "job", job })
    else note(receipt(job))
    return yield* endedAs(job.state)
  }))).pipe(
  Command.withDescription(
    "Submit a job and stay with it: what it prints goes to stdout and stderr as it comes, its story to stderr, and the exit code tells how it ended. " +
    "Ctrl-C detaches: the job goes on."
  ),
  Command.withShortDescription("submit a job and stay with it until its end"),
  Command.withExamples([
    { command: "millrace run -- sh -c 'echo hello; uname -r'", description: "Its output, as it comes" },
    { command: "millrace run --file report.js --file sales.csv --artefacts out -- node report.js sales.csv", description: "Files in, artefacts out" },
    { command: "millrace run --trust others --egress api.example.com:443 -- ./agent", description: "Isolated, with one way out" },
    { command: "millrace run --quiet -- ./sum < /dev/null > sum.txt", description: "Its output alone" },
    { command: "millrace run --tasks 20 -- sh -c 'exit $((MILLRACE_TASK % 2))'", description: "An array: its story, and how many tasks failed" }
  ])
)

/** How long output may still come when the story is over. */
const lateMax = "15 seconds"

/** Tells the story and both streams until the job is over; then a cut that holds its end. */
const watched = Effect.fnUntraced(function*(client: ApiClient, jobId: string, after: Cut, given: Given) {
  const array = Option.isSome(given.tasks)
  if (array) note(`An array's tasks print for themselves: millrace logs ${jobId} --task N`)
  const streams = array ? [] : (["stdout", "stderr"] as const)
  const output = yield* Effect.forkChild(Effect.forEach(streams, (stream) =>
    followOutput(client, jobId, { stream, follow: true, hand: telling(stream, given.output), note }), { concurrency: 2, discard: true }))
  const last = yield* followStory(client, jobId, { after, line: lines(given), enough: enough(array), note })
  yield* Fiber.join(output).pipe(
    Effect.timeoutOrElse({ duration: lateMax, orElse: () => Effect.sync(() => note(`More of its output may come: millrace output ${jobId}`)) })
  )
  return last
})

/** A story has been told once it has its end and what it cost; of an array each task has its own. */
const enough = (array: boolean) => {
  let settled = false
  let spent = false
  return ({ name }: StoryLine): boolean => {
    settled ||= name === "JobSettled" || name === "JobRefused"
    spent ||= name === "SpendCommitted" || name === "JobRefused"
    return !array && settled && spent
  }
}

const lines = ({ output, quiet }: Given) => {
  const text = storyText()
  return (line: StoryLine): void => {
    if (output === "json") sayJson({ kind: "line", line })
    else if (!quiet) note(text(line))
  }
}

const telling = (stream: "stdout" | "stderr", format: Output) => (said: Said): void => {
  switch (said.kind) {
    case "output":
      if (format === "json") return sayJson({ kind: "output", stream, ...(said.text === undefined ? { base64: Buffer.from(said.bytes).toString("base64") } : { text: said.text }) })
      return void process[stream].write(said.bytes)
    case "attempt":
      return said.attempt > 1 && stream === "stdout" ? note(`Attempt ${said.attempt} begins; what it prints comes from its first byte.`) : undefined
    case "end":
      return said.droppedBytes > 0 ? note(`${said.droppedBytes} more bytes of ${stream} were dropped: it is larger than what is kept.`) : undefined
  }
}

const receipt = ({ because, spentPico, state }: { readonly state: string; readonly because: string | null; readonly spentPico?: string }): string => {
  const end = state === "succeeded" || state === "failed" ? `The job ${state}` : `The job was ${state}`
  const cause = state === "succeeded" || because === null ? "" : `: ${because}`
  return `${end}${cause}${spentPico === undefined ? "" : `; it cost ${dollarsShort(spentPico)}`}.`
}
