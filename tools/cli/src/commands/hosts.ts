import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import type { AttemptView, HostView, WhyView } from "../../../../services/scheduler/src/api/api.ts"
import { ask, sayAnswer, secretOf } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, cursor, hostId, jobId, key, limit, queryOf, span, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { allFields, fieldsText, orDash, timeText } from "../render.ts"

const read = { at, after, output, ...apiFlags }
const states = ["admitted", "joined", "draining", "left", "lost", "returned", "dismissed", "taken_back"] as const
const listFlags = { state: Flag.Literals("state", states).pipe(Flag.withDescription("only hosts in this state"), Flag.optional), limit: limit(100), cursor, ...read }

const listing = (given: Command.Command.Config.Infer<typeof listFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at, cursor, limit, state } = given
    const answer = yield* origin.get<{ hosts: ReadonlyArray<HostView>; next: string | null }>("/v1/hosts", queryOf({ after, at, cursor, limit, state }))
    if (given.output === "json") return sayJson(answer)
    say(table(["HOST", "STATE", "TAKES WORK", "CORES FREE", "MEMORY FREE", "GPUS FREE", "HOLDS", "RUNTIMES", "RENTED FROM", "SINCE"], answer.hosts.map(rowOf)))
    if (answer.next !== null && answer.next !== undefined) note(`There are more: add --cursor ${answer.next}`)
  }))

const ls = Command.make("ls", listFlags, listing).pipe(
  Command.withDescription("List the cell's hosts, what is free on them and what they hold: now, or as it was."),
  Command.withShortDescription("list hosts"),
  Command.withExamples([
    { command: "millrace hosts ls", description: "What is there, and what is free" },
    { command: "millrace hosts ls --at 2026-07-01T12:00:00Z", description: "What was there at noon" }
  ])
)

const rowOf = ({ capabilities, free, held, hostId, rented, sinceMs, state, suspects = [], takesWork }: HostView): ReadonlyArray<string> => {
  const whole = capabilities?.resources
  const share = (left: number, of: number | undefined, unit: string) => (of === undefined ? "-" : `${left} of ${of}${unit}`)
  return [
    hostId, state, takesWork ? "yes" : "no", share(free.cpuMilli / 1000, whole === undefined ? undefined : whole.cpuMilli / 1000, ""), share(free.memoryMib, whole?.memoryMib, " MiB"),
    share(free.gpus, whole?.gpus, suspects.length === 0 ? "" : `, ${suspects.length} suspected`), String(held.attempts), orDash(capabilities?.runtimes.join(",")), orDash(rented?.provider), timeText(sinceMs)
  ]
}

interface OneHost {
  readonly host: HostView
  readonly attempts: ReadonlyArray<typeof AttemptView.Type>
  readonly attemptsElsewhere: number
}

const show = Command.make("show", { host: hostId, ...read }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<OneHost>(`/v1/hosts/${encodeURIComponent(given.host)}`, queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(fieldsText(allFields(answer.host as never)))
    if (answer.attempts.length > 0) {
      say(`\n${table(["JOB", "TASK", "ATTEMPT", "CORES", "MEMORY", "PLACED", "WHY HERE"], answer.attempts.map((one) =>
        [one.jobId, orDash(one.task), String(one.attempt), String(one.cpuMilli / 1000), `${one.memoryMib} MiB`, timeText(one.placedAtMs), one.reason]))}`)
    }
    if (answer.attemptsElsewhere > 0) note(`It holds ${answer.attemptsElsewhere} more of other workspaces.`)
  }))).pipe(
  Command.withDescription("Show one host: what it offers, what it holds and what is free: now, or as it was."),
  Command.withShortDescription("one host"),
  Command.withExamples([{ command: "millrace hosts show HOST", description: "Everything that is known of it" }])
)

const enrolFlags = {
  life: span("for").pipe(Flag.withDescription("how long the key admits a host (1h)"), Flag.withDefault(3_600_000)),
  key,
  output,
  ...apiFlags
}

const enrol = Command.make("enrol", enrolFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answered = yield* ask(origin, "POST", "/v1/hosts/enrolments", { body: { lifeMs: given.life }, key: Option.getOrUndefined(given.key) })
    const secret = yield* secretOf(answered, "ask for another one: what nobody uses ends by itself")
    if (given.output === "json") return sayJson(answered)
    note("The key admits one host, once. It is shown this once; give it to the host as MILLRACE_ONE_TIME_KEY, a file:")
    say(secret)
  }))).pipe(
  Command.withDescription("Make a one-time key that a machine enrols with as a host of the cell. It is shown this once."),
  Command.withShortDescription("make a one-time key for a host"),
  Command.withExamples([{ command: "millrace hosts enrol --for 10m > one-time-key", description: "For a machine that starts within ten minutes" }])
)

const dismiss = Command.make("dismiss", { host: hostId, cause: text("cause", "why, for those who read it later"), key, output, ...apiFlags }, (given) =>
  asking(given, (origin) =>
    Effect.map(
      ask(origin, "DELETE", `/v1/hosts/${encodeURIComponent(given.host)}`, { query: queryOf({ cause: given.cause }), key: Option.getOrUndefined(given.key) }),
      (answer) => sayAnswer(answer, given.output)
    ))).pipe(
  Command.withDescription("Let a host belong to the cell no more: its credentials end, and its work is lost."),
  Command.withShortDescription("let a host belong to the cell no more"),
  Command.withExamples([{ command: "millrace hosts dismiss HOST --cause 'its disk fails'", description: "For good" }])
)

export const hosts = Command.make("hosts", listFlags, listing).pipe(
  Command.withDescription("The machines that run the work."),
  Command.withShortDescription("the machines that run the work"),
  Command.withSubcommands([ls, show, enrol, dismiss])
)

export const why = Command.make("why", { job: jobId, ...read }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<WhyView>(`/v1/jobs/${encodeURIComponent(given.job)}/why`, queryOf({ after, at }))
    return given.output === "json" ? sayJson(answer) : say(whyText(answer))
  }))).pipe(
  Command.withDescription("Say why a job is where it is: what it waits for, the arithmetic, the hosts that come nearest, and what would change it; or why it went where it runs, or how it ended. Now, or as it was."),
  Command.withShortDescription("why a job waits, or where it went"),
  Command.withExamples([
    { command: "millrace why JOB", description: "In a sentence, with the arithmetic" },
    { command: "millrace why JOB -o json | jq -r '.changes[]'", description: "What would change it, for a program" }
  ])
)

const whyText = ({ changes = [], nearest = [], placed = [], sentence, waits }: WhyView): string =>
  [
    sentence,
    ...(waits === null || waits === undefined ? [] : [`  ${waits.arithmetic}`, `  waiting for ${waits.unblockedBy} since ${timeText(waits.sinceMs)}`]),
    ...(placed.length === 0 ? [] : ["", table(["HOST", "TASK", "ATTEMPT", "PLACED", "WHY THERE"], placed.map((one) => [one.hostId, orDash(one.task), String(one.attempt), timeText(one.placedAtMs), one.reason]))]),
    ...(nearest.length === 0 ? [] : ["", "Nearest to it:", table(["HOST", "STATE", "FITS", "SHORT OF", "LACKS"], nearest.map((one) => [one.hostId, one.state, fitText(one), shortText(one.short), orDash(one.lacks.join(", "))]))]),
    ...(changes.length === 0 ? [] : ["", "What would change it:", ...changes.map((change) => `  ${change}`)])
  ].join("\n")

type Near = WhyView["nearest"][number]

const fitText = ({ fits, fitsWhenEmpty }: Near): string => (fits ? "now" : fitsWhenEmpty ? "when empty" : "never")

const shortText = ({ cpuMilli, diskMib, gpus, memoryMib }: Near["short"]): string =>
  [
    ...(cpuMilli > 0 ? [`${cpuMilli / 1000} cores`] : []),
    ...(memoryMib > 0 ? [`${memoryMib} MiB of memory`] : []),
    ...(diskMib > 0 ? [`${diskMib} MiB of disk`] : []),
    ...(gpus > 0 ? [`${gpus} GPUs`] : [])
  ].join(", ") || "-"
