import { Effect } from "effect"
import { Argument, Command } from "effect/cli"
import { folderFlag } from "../door.ts"
import { output, say, sayJson, table, telling } from "../print.ts"
import { allFields, fieldsText } from "../render.ts"
import { skyOf } from "../sky.ts"
import { Trouble } from "../trouble.ts"

const changes = Argument.String("change").pipe(
  Argument.withDescription("what to set, such as noCapacity=*, failing=3 or slowMs=500; without one it is shown"),
  Argument.variadic({ min: 0 })
)

const weather = Command.make("weather", { changes, output, folder: folderFlag }, (given) =>
  telling(Effect.gen(function*() {
    const sky = yield* skyOf(given.folder)
    const change: Record<string, unknown> = {}
    for (const text of given.changes) Object.assign(change, yield* changeOf(text))
    const now = yield* (given.changes.length === 0 ? sky.ask<Record<string, unknown>>("GET", "/sky/weather") : sky.ask<Record<string, unknown>>("POST", "/sky/weather", change))
    return given.output === "json" ? sayJson({ weather: now }) : say(fieldsText(allFields(now)))
  }), { format: given.output })).pipe(
  Command.withDescription("Show or set the weather of the pretend cloud: what it lacks, refuses, loses or delays. A number counts down with each request that it meets; a switch holds until it is set again."),
  Command.withShortDescription("what the pretend cloud lacks, refuses or delays"),
  Command.withExamples([
    { command: "millrace sky weather", description: "As it is" },
    { command: "millrace sky weather 'noCapacity=*'", description: "Nothing can be had" },
    { command: "millrace sky weather noCapacity= answersLost=1", description: "Everything can, and one answer gets lost" }
  ])
)

/** `name=value`: a number, a switch, or a list of names between commas. */
const changeOf = (text: string): Effect.Effect<Record<string, unknown>, Trouble> => {
  const [, name, value = ""] = /^([A-Za-z]+)=(.*)$/u.exec(text) ?? []
  if (name === undefined) return Effect.fail(new Trouble({ code: "usage", what: `${JSON.stringify(text)} is no change of the weather`, where: "the command line", remedy: "write it as name=value: millrace sky weather failing=3", ending: "usage" }))
  if (name === "noCapacity") return Effect.succeed({ [name]: value === "" ? [] : value.split(",") })
  return Effect.succeed({ [name]: value === "true" || value === "false" ? value === "true" : /^\d+$/u.test(value) ? Number(value) : value })
}

interface Ledger {
  readonly running: ReadonlyArray<{ readonly id: string; readonly name: string; readonly stands: string }>
  readonly bills: ReadonlyArray<{ readonly machine: string; readonly name: string; readonly minutes: number; readonly microCents: string }>
}

const ledger = Command.make("ledger", { output, folder: folderFlag }, (given) =>
  telling(Effect.gen(function*() {
    const sky = yield* skyOf(given.folder)
    const ledger = yield* sky.ask<Ledger>("GET", "/sky/ledger")
    if (given.output === "json") return sayJson(ledger)
    const stands = new Map(ledger.running.map(({ id, stands }) => [id, stands]))
    say(table(["MACHINE", "NAME", "STATE", "MINUTES", "DOLLARS"], ledger.bills.map(({ machine, microCents, minutes, name }) =>
      [machine, name, stands.get(machine) ?? "terminated", String(minutes), (Number(microCents) / 100_000_000).toFixed(4)])))
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
