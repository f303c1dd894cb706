import { assert, describe, it } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import {
  everyServiceSaysWhatItIs,
  filesSayWhatTheyHold,
  filesStayShort,
  noMachinePaths,
  nothingIsPromisedForLater,
  noTestIsLeftOut,
  whatLibsExportIsPromised
} from "./hygiene.ts"
import { root, type Rule, source, sourcesOnDisk, verdict } from "./source.ts"

const sources = sourcesOnDisk()
/** A service is a folder that runs something: one with a package alone is only a name that is kept. */
const readmes = readdirSync(join(root, "services")).filter((service) => existsSync(join(root, "services", service, "src"))).map((service) => {
  const path = join(root, "services", service, "README.md")
  return { service, text: existsSync(path) ? readFileSync(path, "utf8") : undefined }
})

const assertHolds = (rule: Rule) => {
  assert.isAbove(sources.length, 150)
  assert.strictEqual(verdict(rule, sources), "")
}

const assertFinds = (rule: Rule, path: string, text: string, says: string) => {
  const said = verdict(rule, [source(path, text)])
  assert.include(said, `${path}:`)
  assert.include(said, says)
  assert.include(said, rule.because)
}

describe("how the files read", () => {
  it("no file names a path of one machine", () => assertHolds(noMachinePaths))
  it("no test is left out", () => assertHolds(noTestIsLeftOut))
  it("nothing is promised for later", () => assertHolds(nothingIsPromisedForLater))
  it("no file is long enough to hold two things", () => assertHolds(filesStayShort))
  it("every file's name says what it holds", () => assertHolds(filesSayWhatTheyHold))
  it("every service says what it owns, hears and remembers", () => {
    assert.isAbove(readmes.length, 0)
    assertHolds(everyServiceSaysWhatItIs(readmes))
  })
  it("everything that libs and schemas export says its promise", () => {
    assert.isTrue(sources.some(({ path }) => path === "libs/journal/src/index.ts"))
    assertHolds(whatLibsExportIsPromised)
  })
})

describe("the rules are seen to fail", () => {
  it("a path of one machine is found, and a path of the web or of the system is not", () => {
    assertFinds(noMachinePaths, "libs/x/src/a.ts", "\nconst at = \"/home/ada/millrace\"", "/home/ada")
    assertFinds(noMachinePaths, "libs/x/src/a.ts", "// see /mnt/build", "/mnt/build")
    assert.strictEqual(verdict(noMachinePaths, [source("libs/x/src/a.ts", "const a = \"/usr/bin/env\", b = `${at}/mnt/x`, c = \"https://x.org/home/y\"")]), "")
  })
  it("a test that is left out is found in each spelling", () => {
    for (const call of ["it.only", "it.skip", "describe.only", "it.effect.skip", "it.todo", "it.skipIf"]) {
      assertFinds(noTestIsLeftOut, "libs/x/src/a.test.ts", `${call}("holds", () => {})`, call)
    }
  })
  it("a promise for later is found", () => {
    for (const word of ["TODO", "fixme:", "stub", "Not implemented"]) {
      assertFinds(nothingIsPromisedForLater, "libs/x/src/a.ts", `const a = 1\n// ${word} later`, `says ${word}`)
    }
  })
  it("a long file is found", () => assertFinds(filesStayShort, "libs/x/src/a.ts", "a\n".repeat(700), "has 701 lines"))
  it("a name that fits everything is found", () => assertFinds(filesSayWhatTheyHold, "libs/x/src/helpers.ts", "", "fits everything"))
  it("a service that does not say what it is is found", () => {
    const said = verdict(everyServiceSaysWhatItIs([{ service: "a", text: undefined }, { service: "b", text: "**Owns** x, **hears** y" }]), [])
    assert.include(said, "services/a/README.md:1 does not exist")
    assert.include(said, "services/b/README.md:1 does not say what it remembers")
  })
  it("an export without a word is found behind its package's door, and what stays inside is free", () => {
    const said = verdict(whatLibsExportIsPromised, [
      source("libs/x/src/index.ts", "export * from \"./a.ts\"\nexport { d } from \"./c.ts\""),
      source("libs/x/src/a.ts", "/** Said. */\nexport const a = 1\n\nexport const b = 2"),
      source("libs/x/src/c.ts", "export const c = 1\n\nexport const d = 2")
    ])
    assert.include(said, "libs/x/src/a.ts:4 exports b without a word")
    assert.include(said, "libs/x/src/c.ts:3 exports d without a word")
    assert.include(said, whatLibsExportIsPromised.because)
    assert.strictEqual(said.split("without a word").length, 3)
  })
})
