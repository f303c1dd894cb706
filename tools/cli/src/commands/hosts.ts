import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { ask, sayAnswer, secretOf } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, jobId, key, queryOf, span, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { allFields, fieldsText, orDash, timeText } from "../render.ts"

type Host = Readonly<Record<string, unknown>>

const hostId = Argument.String("host").pipe(Argument.withDescription("the host's id"))
const read = { at, after, output, ...apiFlags }

const listing = (given: Command.Command.Config.Infer<typeof read>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ hosts: ReadonlyArray<Host> }>("/v1/hosts", queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(table(["HOST", "STATE", "CORES FREE", "MEMORY FREE", "GPUS FREE", "RUNNING", "HEARD"], answer.hosts.map(rowOf)))
  }))

const ls = Command.make("ls", read, listing).pipe(
  Command.withDescription("List the cell's hosts, what is free on them and what runs there: now, or as it was."),
  Command.withShortDescription("list hosts"),
  Command.withExamples([
    { command: "millrace hosts ls", description: "What is there, and what is free" },
    { command: "millrace hosts ls --at 2026-07-01T12:00:00Z", description: "What was there at noon" }
  ])
)

const rowOf = (host: Host): ReadonlyArray<string> => {
  const free = (host["free"] ?? {}) as Host
  const capacity = (host["capacity"] ?? host["resources"] ?? {}) as Host
  const running = host["running"]
  const share = (name: string, unit: number) => capacity[name] === undefined ? orDash(free[name]) : `${Number(free[name] ?? capacity[name]) / unit}/${Number(capacity[name]) / unit}`
  return [
    orDash(host["hostId"]), orDash(host["state"] ?? host["stands"]), share("cpuMilli", 1000), share("memoryMib", 1), share("gpus", 1),
    Array.isArray(running) ? String(running.length) : orDash(running), timeText(host["heardAtMs"] as number | undefined)
  ]
}

const show = Command.make("show", { host: hostId, ...read }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ host: Host }>(`/v1/hosts/${encodeURIComponent(given.host)}`, queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(fieldsText(allFields(answer.host)))
  }))).pipe(
  Command.withDescription("Show one host: what it offers, what runs there, when it was last heard of: now, or as it was."),
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

export const hosts = Command.make("hosts", read, listing).pipe(
  Command.withDescription("The machines that run the work."),
  Command.withShortDescription("the machines that run the work"),
  Command.withSubcommands([ls, show, enrol, dismiss])
)

interface Why {
  readonly sentence?: string
  readonly arithmetic?: unknown
  readonly nearest?: ReadonlyArray<unknown>
  readonly changes?: ReadonlyArray<unknown>
}

export const why = Command.make("why", { job: jobId, ...read }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ why: Why }>(`/v1/jobs/${encodeURIComponent(given.job)}/why`, queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    const { arithmetic, changes = [], nearest = [], sentence } = answer.why
    say(sentence ?? "Nothing is known of why.")
    for (const line of linesOf(arithmetic)) say(`  ${line}`)
    if (nearest.length > 0) say(`\nNearest to it:\n${nearest.flatMap(linesOf).map((line) => `  ${line}`).join("\n")}`)
    if (changes.length > 0) say(`\nWhat would change it:\n${changes.flatMap(linesOf).map((line) => `  ${line}`).join("\n")}`)
  }))).pipe(
  Command.withDescription("Say why a job is where it is: what it waits for, the arithmetic, the hosts that come nearest, and what would change it."),
  Command.withShortDescription("why a job waits, or where it went"),
  Command.withExamples([
    { command: "millrace why JOB", description: "In a sentence, with the arithmetic" },
    { command: "millrace why JOB -o json | jq '.why.changes'", description: "What would change it, for a program" }
  ])
)

/** Something said, as lines: a sentence, several, or an object with a sentence in it. */
const linesOf = (said: unknown): ReadonlyArray<string> => {
  if (said === null || said === undefined || said === "") return []
  if (typeof said === "string") return said.split("\n")
  if (Array.isArray(said)) return said.flatMap(linesOf)
  if (typeof said !== "object") return [String(said)]
  const { sentence, text, ...rest } = said as Host
  const fields = allFields(rest).map(([name, value]) => `${name} ${value}`).join(", ")
  return [[sentence ?? text, fields].filter((part) => part !== undefined && part !== "").join("; ")]
}
