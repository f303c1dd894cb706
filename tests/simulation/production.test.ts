import { assert, describe, it } from "@effect/vitest"
import { PlantedBugs } from "@millrace/service"
import { Effect } from "effect"
import { existsSync, globSync, readFileSync, realpathSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const root = resolve(import.meta.dirname, "../..")

/** Every file of ours that a program loads, directly or through others. */
const reachableFrom = (programs: ReadonlyArray<string>): ReadonlySet<string> => {
  const seen = new Set<string>()
  const waiting = [...programs]
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (seen.has(file) || !existsSync(file)) continue
    seen.add(file)
    for (const [, from] of readFileSync(file, "utf8").matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/gu)) {
      const found = from === undefined ? undefined : fileOf(file, from)
      if (found !== undefined) waiting.push(found)
    }
  }
  return seen
}

const fileOf = (importer: string, from: string): string | undefined => {
  if (from.startsWith(".")) return join(dirname(importer), from)
  if (!from.startsWith("@millrace/")) return undefined
  const [scope, name, ...rest] = from.split("/")
  const manifest = realpathSync(join(root, "node_modules", scope ?? "", name ?? "", "package.json"))
  const { exports = {} } = JSON.parse(readFileSync(manifest, "utf8")) as { readonly exports?: Readonly<Record<string, string>> }
  const target = exports[rest.length === 0 ? "." : `./${rest.join("/")}`]
  return target === undefined ? undefined : join(dirname(manifest), target)
}

describe("planted bugs stay out of production", () => {
  const programs = globSync("{services/*/src/main.ts,tools/{cli,dev}/src/main.ts}", { cwd: root }).map((program) => join(root, program))
  const reached = [...reachableFrom(programs)].map((file) => relative(root, file))

  it("no program of ours loads the simulation, its tests or a planted bug", () => {
    assert.isAtLeast(programs.length, 3, "no programs were found to look at")
    assert.include(reached, "libs/journal/src/run-decider.ts", "the imports of the programs were not followed")
    assert.deepStrictEqual(reached.filter((file) => file.startsWith("tests/") || file.startsWith("libs/sim/")), [])
  })

  it("no code that a program loads asks for a planted bug or provides one", () => {
    const mention = reached.filter((file) => file !== "libs/service/src/planted.ts" && /\bplanted\(|\bPlantedBugs\b/u.test(readFileSync(join(root, file), "utf8")))
    assert.deepStrictEqual(mention, [])
  })

  it("the look sees them where they are: the simulation reaches its planted bugs", () => {
    const simulation = [...reachableFrom([fileURLToPath(new URL("main.ts", import.meta.url))])].map((file) => relative(root, file))
    assert.include(simulation, "tests/simulation/planted.ts")
  })

  it.effect("and the switch is off unless a test provides it", () =>
    Effect.map(PlantedBugs, (bugs) => assert.strictEqual(bugs.size, 0)))
})
