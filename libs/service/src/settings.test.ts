import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe as group, it } from "@effect/vitest"
import { Config, Effect, Redacted } from "effect"
import { ExitCode } from "./exit-code.ts"
import { helpText } from "./help.ts"
import { processConfig } from "./service.ts"
import { describe, readSettings, setting } from "./settings.ts"
import { settingsSource } from "./settings-source.ts"

const config = Config.all({
  port: setting("MILL_PORT", { purpose: "the door", wants: "a port number from 1 to 65535", read: Config.Port, default: 8080 }),
  where: setting("MILL_URL", { purpose: "where the log is", wants: "an address", read: Config.URL }),
  password: setting("MILL_PASSWORD", { purpose: "the way in", wants: "any text", read: Config.Redacted, default: undefined })
})

const readFrom = (env: Record<string, string>) => Effect.flatMap(settingsSource(env), (source) => readSettings(config, source))

const fileOf = (content: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "millrace-settings-"))
      writeFileSync(join(folder, "settings"), content)
      return { folder, path: join(folder, "settings") }
    }),
    ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )

group("settings", () => {
  it.effect("come from the environment first, then from the file, then from the default", () =>
    Effect.gen(function*() {
      const json = yield* fileOf(`{ "MILL_PORT": 1, "MILL_URL": "http://file/" }`)
      const both = yield* readFrom({ MILL_PORT: "2", MILLRACE_CONFIG: json.path })
      assert.deepStrictEqual([both.port, String(both.where)], [2, "http://file/"])
      const lines = yield* fileOf("# where\nMILL_URL=http://lines/\nMILL_PASSWORD='open sesame'\n")
      const read = yield* readFrom({ MILLRACE_CONFIG: lines.path })
      assert.deepStrictEqual([read.port, String(read.where), read.password && Redacted.value(read.password)], [8080, "http://lines/", "open sesame"])
    }))

  it.effect("that are wrong are all told at once, each with what was found, what is wanted and a remedy", () =>
    Effect.gen(function*() {
      const { path } = yield* fileOf("MILL_PORT=many")
      const { faults } = yield* Effect.flip(readFrom({ MILLRACE_CONFIG: path }))
      assert.deepStrictEqual(faults, [
        `MILL_PORT is "many" (from ${path}); it wants a port number from 1 to 65535. Give it such a value, or unset it for the default: 8080.`,
        "MILL_URL (where the log is) is not set; it wants an address. Set it in the environment, or in the file that MILLRACE_CONFIG names."
      ])
    }))

  it.effect("whose name speaks of a secret are never quoted", () =>
    Effect.gen(function*() {
      const secret = setting("MILL_TOKEN", { purpose: "a number nobody may see", wants: "a number", read: Config.Int })
      const source = yield* settingsSource({ MILL_TOKEN: "tell-nobody" })
      const { faults } = yield* Effect.flip(readSettings(secret, source))
      assert.deepStrictEqual(faults, ["MILL_TOKEN is 11 characters that are not shown (from the environment); it wants a number. Give it such a value."])
    }))

  it.effect("from a file that cannot be read name the file, and quote none of it", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(readFrom({ MILLRACE_CONFIG: "/nowhere/at/all" }))
      assert.match(missing.message, /^MILLRACE_CONFIG names \/nowhere\/at\/all, which cannot be read \(ENOENT\); it wants .* Name such a file, or unset it\.$/u)
      const { path } = yield* fileOf(`{ "MILL_PASSWORD": tell-nobody }`)
      const broken = yield* Effect.flip(readFrom({ MILLRACE_CONFIG: path }))
      assert.notInclude(broken.message, "tell-nobody")
    }))

  it.effect("of a plain Config are found, too", () =>
    Effect.gen(function*() {
      const mixed = Config.all([config, Config.Int("PLAIN"), Config.nested(Config.Int("PORT"), "INNER")])
      assert.deepStrictEqual((yield* describe(mixed)).map(({ name }) => name), ["MILL_PORT", "MILL_URL", "MILL_PASSWORD", "PLAIN", "INNER_PORT"])
    }))

  it.effect("of every process stand in the README, with every exit code", () =>
    Effect.gen(function*() {
      const readme = readFileSync(join(import.meta.dirname, "..", "README.md"), "utf8")
      const names = (yield* describe(processConfig)).map(({ name }) => name)
      assert.isAtLeast(names.length, 10)
      assert.deepStrictEqual(names.filter((name) => !readme.includes(`\`${name}\``)), [])
      assert.deepStrictEqual(Object.values(ExitCode).filter((code) => !readme.includes(`| ${code} |`)), [])
    }))

  it.effect("are explained by the Config itself", () =>
    Effect.gen(function*() {
      const lines = (yield* helpText("mill", config)).split("\n")
      assert.deepStrictEqual(lines.slice(2, 5), [
        "MILL_PORT      the door          a port number from 1 to 65535; default: 8080",
        "MILL_URL       where the log is  an address (must be set)",
        "MILL_PASSWORD  the way in        any text; default: none"
      ])
    }))
})
