import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, expect, it } from "vitest"
import { exitCodes } from "./exit-codes.ts"
import { millrace } from "./millrace.ts"

const commands = ["submit", "story", "ls", "show", "cancel", "output", "events", "replay", "doctor", "status"]

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

describe("help", () => {
  it("of each command is as it was reviewed", async () => {
    const texts: Array<string> = []
    for (const command of [[], ...commands.map((name) => [name])]) texts.push(`$ ${["millrace", ...command, "--help"].join(" ")}\n${await helpOf(...command)}`)
    await expect(`${texts.map((text) => text.trimEnd()).join("\n\n")}\n`).toMatchFileSnapshot("../golden/help.txt")
  })

  it("of each command shows how it is typed", async () => {
    for (const command of commands) assert.include(await helpOf(command), `EXAMPLES`)
  })

  it("names every exit code, and so does the README", async () => {
    const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8")
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
