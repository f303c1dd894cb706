import type { JobView, TaskView } from "@millrace/gateway/api"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { asking } from "../asking.ts"
import type { ApiClient } from "../client.ts"
import { apiFlags } from "../door.ts"
import { after, at, cursor, freshness, jobId, limit, optionally, switched, text } from "../flags.ts"
import { dollarsExact, dollarsShort } from "../money.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { fieldsText, orDash, timeText } from "../render.ts"

const states = ["queued", "waiting", "placed", "running", "succeeded", "failed", "cancelled", "lost", "refused"] as const
/** Pages that `--all` reads at most. */
const pagesMax = 1_000

const lsFlags = {
  state: Flag.Literals("state", states).pipe(Flag.withDescription("only jobs in this state"), Flag.optional),
  name: text("name", "only jobs of this name"),
  by: text("by", "only what this principal submitted, such as user:ada"),
  parent: text("parent", "only what this job's program submitted"),
  limit: limit(100),
  cursor,
  all: switched("all", "every page"),
  at,
  after,
  output,
  ...apiFlags
}

export const ls = Command.make("ls", lsFlags, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const query = {
      ...freshness(given.after), ...optionally("at", given.at), ...optionally("state", given.state), ...optionally("name", given.name),
      ...optionally("submittedBy", given.by), ...optionally("parent", given.parent), limit: given.limit
    }
    let answer = yield* client.jobs.list({ query: { ...query, ...optionally("cursor", given.cursor) } })
    const jobs: Array<JobView> = [...answer.jobs]
    for (let page = 1; given.all && answer.next !== undefined && page < pagesMax; page++) {
      answer = yield* client.jobs.list({ query: { ...query, cursor: answer.next } })
      jobs.push(...answer.jobs)
    }
    if (given.output === "json") return sayJson({ ...answer, jobs })
    say(table(["JOB", "NAME", "STATE", "ATTEMPT", "TASKS", "SUBMITTED", "HOST", "COST", "BECAUSE"], jobs.map((job) => [
      job.jobId, orDash(job.name), job.state, String(job.attempt), orDash(job.tasks), timeText(job.submittedAtMs), orDash(job.hostId),
      job.spentPico === undefined ? "-" : dollarsShort(job.spentPico), orDash(job.because)
    ])))
    if (answer.next !== undefined) note(`There are more: add --cursor ${answer.next}, or --all`)
  }))).pipe(
  Command.withDescription("List the workspace's jobs, the newest first: now, or as they were."),
  Command.withShortDescription("list jobs"),
  Command.withExamples([
    { command: "millrace ls --limit 10", description: "The ten newest" },
    { command: "millrace ls --state failed --all -o json | jq -r '.jobs[].jobId'", description: "Every failed one" },
    { command: "millrace ls --state running --at 2026-07-01T12:00:00Z", description: "What ran at noon" }
  ])
)

const showFlags = {
  job: jobId,
  tasks: switched("tasks", "of an array: each task that was begun"),
  at,
  after,
  output,
  ...apiFlags
}

export const show = Command.make("show", showFlags, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const query = { ...freshness(given.after), ...optionally("at", given.at) }
    const answer = yield* client.jobs.show({ params: { jobId: given.job }, query })
    const array = answer.job.tasks !== undefined && Option.isNone(given.at)
    const tasks = array ? yield* tasksOf(client, given.job, given.tasks) : undefined
    if (given.output === "json") return sayJson({ ...answer, ...tasks })
    say(fieldsText([...fieldsOf(answer.job), ...(tasks === undefined ? [] : [["tasks", countsText(tasks.counts)] as const])]))
    if (tasks?.tasks !== undefined) say(`\n${tasksText(tasks.tasks)}`)
    if (given.tasks && !array) note(answer.job.tasks === undefined ? "It is no array." : "Tasks are listed as they are now, not as they were.")
  }))).pipe(
  Command.withDescription("Show where one job stands, and why: now, or as it was."),
  Command.withShortDescription("where a job stands"),
  Command.withExamples([
    { command: "millrace show JOB", description: "State, host, exit code, cause and cost" },
    { command: "millrace show JOB --tasks", description: "The tasks of an array" },
    { command: "millrace show JOB --at 2026-07-01T12:00:00Z", description: "Where it stood at noon" }
  ])
)

/** How many tasks stand where; each of them, where they are asked for. */
const tasksOf = Effect.fnUntraced(function*(client: ApiClient, jobId: string, each: boolean) {
  const limit = each ? 1000 : 1
  let page = yield* client.jobs.tasks({ params: { jobId }, query: { limit } })
  const { counts } = page
  if (!each) return { counts }
  const tasks: Array<TaskView> = [...page.tasks]
  for (let pages = 1; page.next !== undefined && pages < pagesMax; pages++) {
    page = yield* client.jobs.tasks({ params: { jobId }, query: { limit, cursor: page.next } })
    tasks.push(...page.tasks)
  }
  return { counts, tasks }
})

const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts).filter(([, count]) => count > 0).map(([state, count]) => `${count} ${state}`).join(", ") || "-"

const tasksText = (tasks: ReadonlyArray<TaskView>): string =>
  table(["TASK", "STATE", "ATTEMPT", "HOST", "EXIT", "BECAUSE"], tasks.map((task) => [
    String(task.task), task.state, String(task.attempt), orDash(task.hostId), orDash(task.exitCode), orDash(task.because)
  ]))

const fieldsOf = (job: JobView): ReadonlyArray<readonly [string, string]> => [
  ["job", job.jobId],
  ...(job.name === undefined ? [] : [["name", job.name] as const]),
  ["state", job.state],
  ["because", orDash(job.because)],
  ["submitted", `${timeText(job.submittedAtMs)} by ${job.submittedBy}`],
  ...(job.grant === undefined ? [] : [["grant", job.grant] as const]),
  ...(job.parent === undefined ? [] : [["parent", job.parent] as const]),
  ...(job.trigger === undefined ? [] : [["trigger", job.trigger] as const]),
  ["attempt", String(job.attempt)],
  ["host", orDash(job.hostId)],
  ["exit code", orDash(job.exitCode)],
  ["settled", timeText(job.settledAtMs)],
  ["cost", job.spentPico === undefined ? "-" : `${dollarsShort(job.spentPico)} (exactly ${dollarsExact(job.spentPico)})`]
]

export const cancel = Command.make("cancel", { job: jobId, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*({ client }) {
    const { cut } = yield* client.jobs.cancel({ params: { jobId: given.job } })
    if (given.output === "json") return sayJson({ jobId: given.job, cut })
    const { job } = yield* client.jobs.show({ params: { jobId: given.job }, query: {} })
    note(job.settledAtMs === null || job.state === "cancelled"
      ? `Its end is asked for. Watch it come with: millrace story ${given.job} --follow`
      : `It was over before: it ${job.state === "lost" || job.state === "refused" ? "was " : ""}${job.state}.`)
  }))).pipe(
  Command.withDescription("Ask for a job's end. It may have ended already; asking twice changes nothing."),
  Command.withShortDescription("ask for a job's end"),
  Command.withExamples([{ command: "millrace cancel JOB", description: "Whatever state it is in" }])
)
