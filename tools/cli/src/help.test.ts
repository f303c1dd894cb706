import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, expect, it } from "vitest"
import { exitCodes } from "./exit-codes.ts"
import { millrace } from "./millrace.ts"

/** Every command, with what stands under it. */
const commands: Readonly<Record<string, ReadonlyArray<string>>> = {
  run: [], submit: [], ls: [], show: [], story: [], logs: [], output: [], artefacts: ["ls", "get"], cancel: [], why: [], plan: [], priority: [],
  hosts: ["ls", "show", "enrol", "dismiss"],
  grants: ["ls", "show", "issue", "delegate", "suspend", "resume", "revoke"],
  principals: ["ls", "bind", "unbind"], tokens: ["ls", "issue", "revoke"], decisions: [], ask: [],
  usage: [], budgets: ["ls", "open", "limit"], prices: [], quotas: ["ls", "set", "lift"], snapshots: ["ls", "show", "take", "expire"],
  capacity: ["show", "offers", "plan", "leases", "why", "leaks", "reap", "bill"], providers: ["check"], triggers: ["ls", "show", "define", "rm", "hook", "tell"],
  events: [], replay: [], doctor: [], status: [], dev: [], chaos: ["kill-host"], sky: ["weather", "ledger"], completion: []
}

/** What commands without commands under them are called in full. */
const leaves = Object.entries(commands).flatMap(([name, under]) => (under.length === 0 ? [[name]] : under.map((one) => [name, one])))

const helpOf = async (...command: ReadonlyArray<string>): Promise<string> => {
  const said: Array<string> = []
  const formatter = CliOutput.defaultFormatter({ colors: false })
  const presenter: CliOutput.Presenter = {
    present: (event) => Effect.sync(() => void said.push(event._tag === "Help" ? formatter.formatHelpDoc(event.helpDoc) : event._tag))
  }
  const around = Layer.mergeAll(NodeServices.layer, CliOutput.layerPresenter(presenter), CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }))
  await Effect.runPromise(Effect.exit(Effect.provide(Command.runWith(millrace, { version: "0.0.0" })([...command, "--help"]), around)))
  return said.join("\n")
}

/** Without what is the same under every command. */
const ownPart = (help: string): string => help.replace(/\nGLOBAL FLAGS\n(?: .*\n?)+/u, "").trimEnd()

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8")

describe("help", () => {
  it("of the whole is as it was reviewed", () => expect(helpOf()).resolves.toMatchFileSnapshot("../golden/help/millrace.txt"))

  for (const [name, under] of Object.entries(commands)) {
    it(`of ${name} is as it was reviewed`, async () => {
      const texts: Array<string> = []
      for (const command of [[name], ...under.map((one) => [name, one])]) texts.push(`$ ${["millrace", ...command, "--help"].join(" ")}\n${ownPart(await helpOf(...command))}`)
      await expect(`${texts.join("\n\n")}\n`).toMatchFileSnapshot(`../golden/help/${name}.txt`)
    })
  }

  it("names every command, and this test knows all of them", async () => {
    const listed = (help: string) => [...help.slice(help.indexOf("SUBCOMMANDS")).matchAll(/^ {2}([a-z-]+) /gmu)].map((match) => match[1]!)
    assert.deepStrictEqual(listed(await helpOf()), Object.keys(commands))
    for (const [name, under] of Object.entries(commands)) if (under.length > 0) assert.deepStrictEqual(listed(await helpOf(name)), under)
  })

  it("of each command shows how it is typed", async () => {
    for (const command of leaves) assert.include(await helpOf(...command), "EXAMPLES", command.join(" "))
  })

  it("of each command that asks a cell has -o json, and the README says what that prints", async () => {
    for (const command of leaves.filter(([name]) => name !== "dev" && name !== "completion")) {
      assert.include(await helpOf(...command), "--output, -o choice", command.join(" "))
      assert.include(readme, `\`${command.join(" ")}`, command.join(" "))
    }
  })

  it("has --at where the past can be asked for", async () => {
    for (const command of [["ls"], ["show"], ["story"], ["why"], ["hosts"], ["hosts", "show"], ["grants"], ["grants", "show"], ["usage"], ["budgets"], ["prices"], ["quotas"], ["snapshots"], ["capacity"], ["decisions"], ["events"]]) {
      assert.include(await helpOf(...command), "--at cut|time", command.join(" "))
    }
  })

  it("names every exit code, and so does the README", async () => {
    const help = await helpOf()
    for (const { code, means } of Object.values(exitCodes)) {
      assert.include(help, `${String(code).padStart(5)}  ${means}`)
      assert.include(readme, `| ${code} | ${means} |`)
    }
  })

  it("has no two endings with one code", () => {
    const codes = Object.values(exitCodes).map(({ code }) => code)
    assert.strictEqual(new Set(codes).size, codes.length)
  })
})
