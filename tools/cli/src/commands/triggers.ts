import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readFileSync } from "node:fs"
import { randomUUID } from "node:crypto"
import type { TriggerView } from "../../../../services/gateway/src/api/trigger-endpoints.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { several, something, text } from "../flags.ts"
import { note, output, say, sayJson, table } from "../print.ts"
import { allFields, fieldsText, orDash, timeText } from "../render.ts"
import { bodyOf, type JobGiven, jobFlags, requestOf } from "../request.ts"
import { Trouble } from "../trouble.ts"

type Cut = Readonly<Record<string, number>>
const name = something("name", "its name: small letters, digits and dashes")
const path = (name: string) => `/v1/triggers/${encodeURIComponent(name)}`

const listFlags = { output, ...apiFlags }

const listing = (given: Command.Command.Config.Infer<typeof listFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* origin.get<{ triggers: ReadonlyArray<TriggerView> }>("/v1/triggers")
    if (given.output === "json") return sayJson(answer)
    say(table(["TRIGGER", "ON", "NEXT", "BY", "LAST", "WHAT CAME OF IT"], answer.triggers.map((one) => {
      const last = one.firings[0]
      return [one.name, causeText(one.on as Cause), timeText(one.nextAtMs), one.definedBy, timeText(last?.atMs), orDash(last?.jobId ?? last?.refused?.reason)]
    })))
  }))

const ls = Command.make("ls", listFlags, listing).pipe(
  Command.withDescription("List triggers, when they are due next, and what they did last."),
  Command.withShortDescription("list triggers"),
  Command.withExamples([{ command: "millrace triggers ls", description: "What starts jobs by itself" }])
)

interface Cause {
  readonly _tag: string
  readonly name?: string
  readonly type?: string
  readonly expression?: string
  readonly timeZone?: string
  readonly where?: ReadonlyArray<{ readonly path: string; readonly is: string; readonly value?: unknown }>
}

const causeText = ({ _tag, expression, name, timeZone, type, where = [] }: Cause): string =>
  [_tag, name ?? type ?? `${expression} ${timeZone}`, ...where.map(({ is, path, value }) => `${path} ${is}${value === undefined ? "" : ` ${String(value)}`}`)].join(" ")

const show = Command.make("show", { name, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* origin.get<{ trigger: TriggerView }>(path(given.name))
    if (given.output === "json") return sayJson(answer)
    const { firings, ...rest } = answer.trigger
    say(fieldsText(allFields(rest as never)))
    if (firings.length > 0) say(`\n${table(["WHEN", "JOB", "REFUSED", "EVENT"], firings.map((one) => [timeText(one.atMs), orDash(one.jobId), one.refused === undefined ? "-" : `${one.refused.reason}: ${one.refused.detail}`, one.event]))}`)
  }))).pipe(
  Command.withDescription("Show one trigger, and each time that it matched."),
  Command.withShortDescription("one trigger, and what it did"),
  Command.withExamples([{ command: "millrace triggers show nightly", description: "When it matched, and what came of it" }])
)

const defineFlags = {
  name,
  fromFile: text("definition", "a file of JSON with the whole definition, {on, job, perMinuteMax}; - reads it from stdin"),
  cron: text("cron", "due by the clock: five fields, such as '0 9 * * 1-5'"),
  zone: Flag.String("zone").pipe(Flag.withDescription("the clock's zone, such as Europe/Berlin (UTC)"), Flag.withDefault("UTC")),
  onEvent: text("on-event", "an event of this type from outside, such as push"),
  onFact: text("on-fact", "a fact of the log, such as JobSettled"),
  where: several("where", "and only where a field is so: outcome=failed, outcome!=failed, data.ref^=refs/heads, data.ref?", "condition"),
  perMinute: Flag.Int("per-minute").pipe(Flag.withDescription("firings within a minute at most (60)"), Flag.withDefault(60)),
  // Its jobs are called as it is.
  ...(({ name: _, ...rest }) => rest)(jobFlags),
  output,
  ...apiFlags,
  argv: Argument.String("command").pipe(Argument.withDescription("the program that it starts, behind --"), Argument.variadic({ min: 0 }))
}
type Defining = Command.Command.Config.Infer<typeof defineFlags>

const define = Command.make("define", defineFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const body = Option.isSome(given.fromFile) ? yield* definitionIn(given.fromFile.value) : yield* definitionOf(given)
    const answer = yield* origin.send<{ cut: Cut }>("PUT", path(given.name), { body })
    if (given.output === "json") return sayJson({ name: given.name, ...answer })
    note(`Trigger ${given.name} waits. See what it does with: millrace triggers show ${given.name}`)
  }))).pipe(
  Command.withDescription("Define a trigger, or replace it: what it waits for, and the job that it starts. It fires in your name, once for each event, and never for what it caused itself. Its jobs carry its name, and their program finds what happened in MILLRACE_EVENT."),
  Command.withShortDescription("define a trigger, or replace it"),
  Command.withExamples([
    { command: "millrace triggers define nightly --cron '0 2 * * *' --zone Europe/Berlin -- ./report", description: "Every night at two" },
    { command: "millrace triggers define look --on-fact JobSettled --where outcome=failed -- ./look-into-it", description: "For each job that fails" },
    { command: "millrace triggers define build --on-event push --where data.ref=refs/heads/main --trust others -- ./build", description: "For each push" },
    { command: "millrace triggers define build --definition build.json", description: "From a file" }
  ])
)

const usage = (what: string): Trouble => new Trouble({ code: "usage", what, where: "the command line", remedy: "see: millrace triggers define --help", ending: "usage" })

const definitionIn = (file: string): Effect.Effect<unknown, Trouble> =>
  Effect.try({
    try: () => JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8")) as unknown,
    catch: (error) => usage(`${file} holds no definition: ${error instanceof Error ? error.message : String(error)}`)
  })

const definitionOf = Effect.fnUntraced(function*(given: Defining) {
  const { argv, cron, onEvent, onFact, perMinute, zone } = given
  const causes = [
    ...Option.toArray(Option.map(cron, (expression) => ({ _tag: "cron", expression, timeZone: zone }))),
    ...Option.toArray(Option.map(onEvent, (type) => ({ _tag: "event", type }))),
    ...Option.toArray(Option.map(onFact, (fact) => ({ _tag: "fact", name: fact })))
  ]
  const [cause] = causes
  if (cause === undefined || causes.length > 1) return yield* usage("a trigger waits for one thing: --cron, --on-event or --on-fact")
  if (cause._tag === "cron" && given.where.length > 0) return yield* usage("--where is about events and facts; the clock has no fields")
  if (argv.length === 0) return yield* usage("there is no program for it to start: write it behind --")
  const where: Array<unknown> = []
  for (const text of given.where) where.push(yield* conditionOf(text))
  const job: JobGiven = { ...given, name: Option.none() }
  yield* requestOf(job, argv)
  return { on: cause._tag === "cron" ? cause : { ...cause, where }, job: bodyOf(job, argv), perMinuteMax: perMinute }
})

const kinds: Readonly<Record<string, string>> = { "=": "equal", "!=": "not_equal", "^=": "prefix" }

/** `path=value`, `path!=value`, `path^=value`, `path?`: equal, not equal, begins with, is there. */
const conditionOf = (text: string): Effect.Effect<unknown, Trouble> => {
  const [, path, sign, value] = /^([A-Za-z_][\w.]*)(!=|\^=|=|\?$)(.*)$/su.exec(text) ?? []
  if (path === undefined || sign === undefined) return Effect.fail(usage(`${JSON.stringify(text)} is no condition`))
  if (sign === "?") return Effect.succeed({ path, is: "exists" })
  const plain = sign === "^=" ? value : value === "true" || value === "false" ? value === "true" : value !== "" && Number.isFinite(Number(value)) ? Number(value) : value
  return Effect.succeed({ path, is: kinds[sign], value: plain })
}

const rm = Command.make("rm", { name, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* origin.send<{ cut: Cut }>("DELETE", path(given.name))
    if (given.output === "json") return sayJson({ name: given.name, ...answer })
    note(`Trigger ${given.name} starts nothing more.`)
  }))).pipe(
  Command.withDescription("Let a trigger start nothing more. What it has started goes on."),
  Command.withShortDescription("let a trigger start nothing more"),
  Command.withExamples([{ command: "millrace triggers rm nightly", description: "From now on" }])
)

const hook = Command.make("hook", { name, close: Flag.Boolean("close").pipe(Flag.withoutNegation, Flag.withDescription("close it"), Flag.withDefault(false)), output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const hookPath = `/v1/hooks/${encodeURIComponent(given.name)}`
    if (given.close) {
      const answer = yield* origin.send<{ cut: Cut }>("DELETE", hookPath)
      return given.output === "json" ? sayJson({ name: given.name, ...answer }) : note(`Hook ${given.name} is closed.`)
    }
    const answer = yield* origin.send<{ secret: string; path: string; cut: Cut }>("PUT", hookPath)
    if (given.output === "json") return sayJson({ name: given.name, ...answer })
    note(`Whoever signs with this secret may tell events at ${origin.url}${answer.path}. It is shown this once; opening the hook again replaces it:`)
    say(answer.secret)
  }))).pipe(
  Command.withDescription("Open a hook where those who have no token tell events, signed as Standard Webhooks says; or close it. The secret is shown this once."),
  Command.withShortDescription("open or close a hook for events from outside"),
  Command.withExamples([
    { command: "millrace triggers hook forge > hook.secret", description: "Open it, and keep the secret" },
    { command: "millrace triggers hook forge --close", description: "Nobody gets in there any more" }
  ])
)

const tellFlags = {
  type: something("type", "its type, such as push"),
  data: text("data", "what happened, as JSON; @FILE reads it from a file"),
  source: Flag.String("source").pipe(Flag.withDescription("who says so (/millrace/cli)"), Flag.withDefault("/millrace/cli")),
  id: text("id", "its id: the same source and id is told once"),
  output,
  ...apiFlags
}

const tell = Command.make("tell", tellFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const data = Option.isNone(given.data) ? undefined : yield* dataOf(given.data.value)
    const body = { specversion: "1.0", id: Option.getOrElse(given.id, () => randomUUID()), source: given.source, type: given.type, ...(data === undefined ? {} : { datacontenttype: "application/json", data }) }
    const answer = yield* origin.send<{ events: ReadonlyArray<{ event: string; repeated: boolean }> }>("POST", "/v1/events", { body, contentType: "application/cloudevents+json" })
    if (given.output === "json") return sayJson(answer)
    for (const { event, repeated } of answer.events) {
      if (repeated) note("It was told before.")
      say(event)
    }
  }))).pipe(
  Command.withDescription("Tell the cell that something happened outside, as a CloudEvent. Triggers that wait for it start their jobs."),
  Command.withShortDescription("tell an event from outside"),
  Command.withExamples([{ command: "millrace triggers tell push --data '{\"ref\":\"refs/heads/main\"}' --id 42", description: "Once, however often it is typed" }])
)

const dataOf = (text: string): Effect.Effect<unknown, Trouble> =>
  Effect.try({
    try: () => JSON.parse(text.startsWith("@") ? readFileSync(text.slice(1), "utf8") : text) as unknown,
    catch: (error) => usage(`--data is no JSON: ${error instanceof Error ? error.message : String(error)}`)
  })

export const triggers = Command.make("triggers", listFlags, listing).pipe(
  Command.withDescription("Rules that start jobs: by the clock, by events from outside, by facts of the log."),
  Command.withShortDescription("rules that start jobs"),
  Command.withSubcommands([ls, show, define, rm, hook, tell])
)
