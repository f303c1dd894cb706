import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import type { QuotaView } from "../../../../services/scheduler/src/api/api.ts"
import { ask, sayAnswer } from "../asks.ts"
import { asking } from "../asking.ts"
import { apiFlags } from "../door.ts"
import { after, at, jobId, key, optionally, queryOf, read, several, something, text } from "../flags.ts"
import { priorityFlag, priorityOf } from "../priority.ts"
import { output, say, sayJson, table } from "../print.ts"
import { memoryMib } from "../quantities.ts"
import { orDash } from "../render.ts"
import { Trouble } from "../trouble.ts"

const lsFlags = { at, after, output, ...apiFlags }

const listing = (given: Command.Command.Config.Infer<typeof lsFlags>) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const { after, at } = given
    const answer = yield* origin.get<{ quotas: ReadonlyArray<QuotaView> }>("/v1/quotas", queryOf({ after, at }))
    if (given.output === "json") return sayJson(answer)
    say(table(["WHO", "SHARES IN", "WEIGHT", "OF", "DUE", "HOLDS", "BORROWED", "COULD HAVE", "BORROWS", "LENDS", "PRIORITY"], answer.quotas.flatMap(rowsOf)))
  }))

const rowsOf = ({ limits, node, parent, priorityDefault, priorityMax, weight }: QuotaView): ReadonlyArray<ReadonlyArray<string>> => {
  const priority = priorityDefault === null && priorityMax === null ? "-" : `${orDash(priorityDefault)}, to others ${orDash(priorityMax)}`
  const who = [node, orDash(parent), String(weight)]
  if (limits.length === 0) return [[...who, "-", "-", "-", "-", "-", "-", "-", priority]]
  return limits.map((limit, row) => {
    const amount = (much: number | undefined): string => (much === undefined ? "all" : amountText(limit.dimension, much))
    return [
      ...(row === 0 ? who : ["", "", ""]), nameOf(limit.dimension), amount(limit.nominal), amount(limit.held), amount(limit.borrowed), amount(Math.max(0, limit.available)),
      amount(limit.borrowingMax), amount(limit.lendingMax), row === 0 ? priority : ""
    ]
  })
}

const nameOf = (dimension: string): string => dimension === "cpuMilli" ? "cores" : dimension === "memoryMib" ? "memory" : dimension === "gpuMilli" ? "GPUs" : dimension.slice("gpuMilli/".length)
const amountText = (dimension: string, amount: number): string => (dimension === "memoryMib" ? `${amount} MiB` : String(amount / 1000))

const ls = Command.make("ls", lsFlags, listing).pipe(
  Command.withDescription("List what workspaces and cohorts are due, hold, have borrowed and could have now; or as it was."),
  Command.withShortDescription("who is due how much, and holds what"),
  Command.withExamples([{ command: "millrace quotas ls", description: "The whole tree" }])
)

/** `8`, `8,borrow=4`, `8,lend=0`: what is due, and how far it is borrowed and lent. */
const limitOf = (dimension: string, text: string, amountOf: (text: string) => number | undefined): Limit | undefined => {
  const [nominal = "", ...rest] = text.split(",")
  const limit: Record<string, unknown> = { dimension, nominal: amountOf(nominal) }
  for (const part of rest) {
    const [name, much = ""] = part.split("=")
    const field = name === "borrow" ? "borrowingMax" : name === "lend" ? "lendingMax" : undefined
    if (field === undefined) return undefined
    limit[field] = amountOf(much)
  }
  return Object.values(limit).includes(undefined) ? undefined : (limit as unknown as Limit)
}
interface Limit {
  readonly dimension: string
  readonly nominal: number
  readonly borrowingMax?: number
  readonly lendingMax?: number
}

const thousandths = (text: string): number | undefined => (/^[0-9]{1,9}([.][0-9]{1,3})?$/u.test(text) ? Math.round(Number(text) * 1000) : undefined)
const wants = "an amount, with how far it is borrowed and lent if that is limited, such as 8 or 8,borrow=4,lend=0"

const setFlags = {
  who: something("who", "workspace/NAME or cohort/NAME"),
  in: text("in", "the cohort that it shares with, as cohort/NAME"),
  weight: Flag.Int("weight").pipe(Flag.withDescription("how many parts of what is shared it is due against its siblings (1)"), Flag.optional),
  cores: read("cores", (text) => limitOf("cpuMilli", text, thousandths), wants).pipe(Flag.withMetavar("limit"), Flag.withDescription("cores that it is due, such as 64 or 64,borrow=32,lend=0"), Flag.optional),
  memory: read("memory", (text) => limitOf("memoryMib", text, memoryMib), wants).pipe(Flag.withMetavar("limit"), Flag.withDescription("memory that it is due, such as 256GiB"), Flag.optional),
  gpus: read("gpus", (text) => limitOf("gpuMilli", text, thousandths), wants).pipe(Flag.withMetavar("limit"), Flag.withDescription("GPUs of whatever model that it is due, such as 8,borrow=8"), Flag.optional),
  gpu: several("gpu", "GPUs of one model that it is due, such as H100=8,lend=4", "model=limit"),
  priority: priorityFlag("priority", "of a workspace: how urgent its jobs are that do not say (normal)"),
  priorityMax: priorityFlag("priority-max", "of a workspace: how urgent its jobs count to others at most (normal)"),
  key,
  output,
  ...apiFlags
}

const set = Command.make("set", setFlags, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const ofModels = yield* Effect.forEach(given.gpu, (text) => {
      const at = text.indexOf("=")
      const limit = at < 1 ? undefined : limitOf(`gpuMilli/${text.slice(0, at)}`, text.slice(at + 1), thousandths)
      return limit === undefined
        ? Effect.fail(new Trouble({ code: "limit_malformed", what: `${JSON.stringify(text)} is no model with ${wants}`, where: "--gpu", remedy: "write it as H100=8 or H100=8,lend=4", ending: "rejected" }))
        : Effect.succeed(limit)
    })
    const limits = [...[given.cores, given.memory, given.gpus].flatMap((limit) => Option.toArray(limit)), ...ofModels]
    const answer = yield* ask(origin, "POST", "/v1/quotas", {
      body: {
        node: given.who, limits, ...optionally("parent", given.in), ...optionally("weight", given.weight),
        ...optionally("priorityDefault", given.priority), ...optionally("priorityMax", given.priorityMax)
      },
      key: Option.getOrUndefined(given.key)
    })
    sayAnswer(answer, given.output, "node")
  }))).pipe(
  Command.withDescription("Say what a workspace or a cohort is due. It replaces what was said before, and ends nothing that runs. It takes the role operator, in the workspace that the cell began with; its owners may, too."),
  Command.withShortDescription("say what a workspace or cohort is due"),
  Command.withExamples([
    { command: "millrace quotas set workspace/acme --in cohort/research --gpus 8,borrow=8", description: "Eight GPUs for certain, and up to eight more while others leave them idle" },
    { command: "millrace quotas set workspace/acme --gpu H100=8,lend=4 --priority-max high", description: "By model; four of them are lent while idle" }
  ])
)

const lift = Command.make("lift", { who: setFlags.who, key, output, ...apiFlags }, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* ask(origin, "DELETE", `/v1/quotas?node=${encodeURIComponent(given.who)}`, { key: Option.getOrUndefined(given.key) })
    sayAnswer(answer, given.output, "node")
  }))).pipe(
  Command.withDescription("Say nothing more of what a workspace or a cohort is due: it takes what there is."),
  Command.withShortDescription("lift a quota"),
  Command.withExamples([{ command: "millrace quotas lift workspace/acme", description: "It takes what there is again" }])
)

export const quotas = Command.make("quotas", lsFlags, listing).pipe(
  Command.withDescription("Who is due how much of the cell, and how far they borrow and lend."),
  Command.withShortDescription("who is due how much"),
  Command.withSubcommands([ls, set, lift])
)

export const priority = Command.make("priority", {
  job: jobId,
  priority: Argument.String("priority").pipe(
    Argument.filterMap((text) => Option.fromUndefinedOr(priorityOf(text)), (text) => `${JSON.stringify(text)} is not low, normal, high, urgent or a number from 0 to 100`),
    Argument.withDescription("low, normal, high, urgent, or a number from 0 to 100")
  ),
  key,
  output,
  ...apiFlags
}, (given) =>
  asking(given, Effect.fnUntraced(function*(origin) {
    const answer = yield* ask(origin, "POST", `/v1/jobs/${encodeURIComponent(given.job)}/priority`, { body: { priority: given.priority }, key: Option.getOrUndefined(given.key) })
    sayAnswer(answer, given.output, "jobId")
  }))).pipe(
  Command.withDescription("Let a job count as more or less urgent than it was submitted. The more urgent of a workspace goes first; to other workspaces it counts no further than its quota says."),
  Command.withShortDescription("change how urgent a job is"),
  Command.withExamples([{ command: "millrace priority JOB high", description: "Before the others of its workspace" }])
)
