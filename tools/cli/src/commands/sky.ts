import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { folderFlag } from "../door.ts"
import { output, say, sayJson, table, telling } from "../print.ts"
import { allFields, fieldsText } from "../render.ts"
import { skyOf } from "../sky.ts"
import { Trouble } from "../trouble.ts"

const changes = Argument.String("change").pipe(
  Argument.withDescription("what to set, such as noCapacity=*, failing=3 or slowMs=500; without one it is shown"),
  Argument.variadic({ min: 0 })
)

const cloud = Flag.String("cloud").pipe(Flag.withDescription("which pretend cloud, where several run; the first one without it"), Flag.optional)
const about = (path: string, cloud: Option.Option<string>): string => (Option.isSome(cloud) ? `${path}/${encodeURIComponent(cloud.value)}` : path)

const weather = Command.make("weather", { changes, cloud, output, folder: folderFlag }, (given) =>
  telling(Effect.gen(function*() {
    const sky = yield* skyOf(given.folder)
    const change: Record<string, unknown> = {}
    for (const text of given.changes) Object.assign(change, yield* changeOf(text))
    const now = yield* (given.changes.length === 0 ? sky.ask<Record<string, unknown>>("GET", about("/sky/weather", given.cloud)) : sky.ask<Record<string, unknown>>("POST", about("/sky/weather", given.cloud), change))
    return given.output === "json" ? sayJson({ weather: now }) : say(fieldsText(allFields(now)))
  }), { format: given.output })).pipe(
  Command.withDescription("Show or set the weather of the pretend cloud: what it lacks, refuses, loses or delays. A number counts down with each request that it meets; a switch holds until it is set again."),
  Command.withShortDescription("what the pretend cloud lacks, refuses or delays"),
  Command.withExamples([
    { command: "millrace sky weather", description: "As it is" },
    { command: "millrace sky weather 'noCapacity=*'", description: "Nothing can be had" },
    { command: "millrace sky weather noCapacity= answersLost=1", description: "Everything can, and one answer gets lost" },
    { command: "millrace sky weather --cloud ec2 stock=p5.48xlarge@us-east-1a/spot:2", description: "Two of those, there, and no more" }
  ])
)

const lists = new Set(["noCapacity", "noQuota", "forbidden", "priceZero"])

/** `name=value`: a number, a switch, a list of names between commas; stock is `name:number` between commas. */
const changeOf = (text: string): Effect.Effect<Record<string, unknown>, Trouble> => {
  const [, name, value = ""] = /^([A-Za-z]+)=(.*)$/u.exec(text) ?? []
  if (name === undefined) return Effect.fail(new Trouble({ code: "usage", what: `${JSON.stringify(text)} is no change of the weather`, where: "the command line", remedy: "write it as name=value: millrace sky weather failing=3", ending: "usage" }))
  if (lists.has(name)) return Effect.succeed({ [name]: value === "" ? [] : value.split(",") })
  if (name === "stock") return Effect.succeed({ [name]: Object.fromEntries(value.split(",").filter((one) => one !== "").map((one) => [one.slice(0, one.lastIndexOf(":")), Number(one.slice(one.lastIndexOf(":") + 1))])) })
  return Effect.succeed({ [name]: value === "true" || value === "false" ? value === "true" : /^\d+$/u.test(value) ? Number(value) : value })
}

interface Ledger {
  readonly running: ReadonlyArray<{ readonly id: string; readonly name: string; readonly stands: string }>
  readonly bills: ReadonlyArray<{ readonly machine: string; readonly name: string; readonly market: string; readonly billedMs: number; readonly costPico: string }>
}

const ledger = Command.make("ledger", { cloud, output, folder: folderFlag }, (given) =>
  telling(Effect.gen(function*() {
    const sky = yield* skyOf(given.folder)
    const ledger = yield* sky.ask<Ledger>("GET", about("/sky/ledger", given.cloud))
    if (given.output === "json") return sayJson(ledger)
    const stands = new Map(ledger.running.map(({ id, stands }) => [id, stands]))
    say(table(["MACHINE", "NAME", "STATE", "MARKET", "BILLED", "DOLLARS"], ledger.bills.map(({ billedMs, costPico, machine, market, name }) =>
      [machine, name, stands.get(machine) ?? "terminated", market, `${billedMs / 1000} s`, (Number(costPico) / 1e12).toFixed(4)])))
  }), { format: given.output })).pipe(
  Command.withDescription("What truly runs in the pretend cloud and what each machine truly cost, whatever the cell believes."),
  Command.withShortDescription("what truly runs there, and what it cost"),
  Command.withExamples([{ command: "millrace sky ledger", description: "Compare it with: millrace capacity leases" }])
)

export const sky = Command.make("sky").pipe(
  Command.withDescription("The pretend cloud of this machine's cell: its weather, and what truly happened."),
  Command.withShortDescription("the pretend cloud of this machine"),
  Command.withSubcommands([weather, ledger])
)
