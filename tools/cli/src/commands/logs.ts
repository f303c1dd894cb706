import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { jobId, switched, task, text } from "../flags.ts"
import { followOutput, type Said } from "../output.ts"
import { note, output, type Output, sayJson } from "../print.ts"

const flags = {
  job: jobId,
  follow: Flag.Boolean("follow").pipe(Flag.withAlias("f"), Flag.withoutNegation, Flag.withDescription("go on until the job has ended"), Flag.withDefault(false)),
  stderr: switched("stderr", "what it complains of, instead of what it prints"),
  task,
  from: text("from", "go on behind this piece: the id of one that -o json has told"),
  output,
  ...apiFlags
}

export const logs = Command.make("logs", flags, (given) =>
  asking(given, ({ client }) =>
    followOutput(client, given.job, {
      stream: given.stderr ? "stderr" : "stdout",
      follow: given.follow,
      task: Option.getOrUndefined(given.task),
      from: Option.getOrUndefined(given.from),
      hand: telling(given.output),
      note
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => note(`Detached; the job goes on. Come back with: millrace logs ${given.job} --follow`)))))).pipe(
  Command.withDescription("Show what a job prints, from its first byte: what there is by now, or with --follow as it comes, from the host that runs it. A line that breaks is taken up again where it was."),
  Command.withShortDescription("what a job prints, as it prints it"),
  Command.withExamples([
    { command: "millrace logs JOB --follow", description: "Until the job has ended" },
    { command: "millrace logs JOB --stderr", description: "What it complained of so far" },
    { command: "millrace logs JOB --task 7 -f", description: "One task of an array" }
  ])
)

const telling = (format: Output) => (said: Said): void => {
  if (format === "json") {
    if (said.kind !== "output") return sayJson(said)
    const { bytes, id, text } = said
    return sayJson({ kind: "output", ...(text === undefined ? { base64: Buffer.from(bytes).toString("base64") } : { text }), ...(id === undefined ? {} : { id }) })
  }
  if (said.kind === "output") process.stdout.write(said.bytes)
  if (said.kind === "attempt" && said.attempt > 1) note(`Attempt ${said.attempt}:`)
  if (said.kind === "end" && said.droppedBytes > 0) note(`${said.droppedBytes} more bytes were dropped: the output is larger than what is kept.`)
}
