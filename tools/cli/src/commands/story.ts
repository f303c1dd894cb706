import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, freshness, jobId, optionally, task } from "../flags.ts"
import { note, output, say, sayJson } from "../print.ts"
import { storyText } from "../story.ts"
import { Trouble } from "../trouble.ts"
import { follow } from "./follow.ts"

const flags = {
  job: jobId,
  follow: Flag.Boolean("follow").pipe(Flag.withAlias("f"), Flag.withoutNegation, Flag.withDescription("go on until the story is over"), Flag.withDefault(false)),
  task,
  at,
  after,
  output,
  ...apiFlags
}

export const story = Command.make("story", flags, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    if (given.follow) {
      if (Option.isSome(given.at) || Option.isSome(given.task)) return yield* notWhile
      return yield* Effect.asVoid(follow(client, given.job, { format: given.output, ...optionally("after", given.after) }))
    }
    const query = { ...freshness(given.after), ...optionally("at", given.at), ...optionally("task", given.task) }
    const told = yield* client.jobs.story({ params: { jobId: given.job }, query })
    if (given.output === "json") return sayJson(told)
    for (const line of told.lines.map(storyText())) say(line)
    if (told.more === true) note("It is longer than can be told at once; tell one task: --task N")
    if (!told.over && Option.isNone(given.at)) note(`The story goes on: millrace story ${given.job} --follow`)
  }))).pipe(
  Command.withDescription("Tell a job's story: every fact of it, causes before what they caused."),
  Command.withShortDescription("what happened to a job, and why"),
  Command.withExamples([
    { command: "millrace story JOB", description: "What has happened so far" },
    { command: "millrace story JOB --follow", description: "Come back to a job, until it is over" },
    { command: "millrace story JOB --task 7", description: "Of an array: one task's" }
  ])
)

const notWhile = new Trouble({ code: "usage", what: "--follow tells the whole story as it comes", where: "the command line", remedy: "leave --at and --task out, or --follow", ending: "usage" })
