import { assert, describe, it } from "@effect/vitest"
import { clientsStayBehindTheirDoors, everyFileHasARoom, packagesAreEnteredByTheirDoors, roomOf, roomRules, startsStayLight, table } from "./rooms.ts"
import { packagesOnDisk, type Rule, source, sourcesOnDisk, verdict } from "./source.ts"

const sources = sourcesOnDisk()
const packages = packagesOnDisk()

/** For each room a file that breaks its rule, and the word that the failure must say. */
const planted: ReadonlyArray<readonly [path: string, text: string, says: string]> = [
  ["schemas/src/word.ts", "import { deriveId } from \"@millrace/decider\"", "leans on libs/decider"],
  ["libs/decider/src/x.ts", "import { JobId } from \"@millrace/schemas\"", "leans on schemas"],
  ["libs/authority/src/x.ts", "import { Journal } from \"@millrace/journal\"", "leans on libs/journal"],
  ["libs/pricing/src/x.ts", "import { Journal } from \"@millrace/journal\"", "leans on libs/journal"],
  ["libs/packing/src/x.ts", "import { randomInt } from \"node:crypto\"", "leans on node:crypto"],
  ["libs/journal/src/x.ts", "import { projection } from \"@millrace/readmodel\"", "leans on libs/readmodel"],
  ["libs/readmodel/src/x.ts", "export { Blobs } from \"@millrace/blobs\"", "leans on libs/blobs"],
  ["libs/wire/src/x.ts", "import {\n  Journal\n} from \"@millrace/journal\"", "leans on libs/journal"],
  ["libs/blobs/src/x.ts", "const { Journal } = await import(\"@millrace/journal\")", "leans on libs/journal"],
  ["libs/service/src/x.ts", "import \"@millrace/scheduler\"", "leans on services/scheduler"],
  ["libs/sim/src/x.ts", "import type { World } from \"@millrace/scheduler\"", "leans on services/scheduler"],
  ["services/broker/src/domain/lease.ts", "import { Journal, type Fact } from \"@millrace/journal\"", "leans on libs/journal"],
  ["services/broker/src/domain/terms.ts", "import { readFileSync } from \"node:fs\"", "leans on node:fs"],
  ["services/broker/src/reactors/settle.ts", "import { capacity } from \"../projections/capacity.ts\"", "leans on own:projections"],
  ["services/broker/src/projections/capacity.ts", "import { connect } from \"node:net\"", "leans on node:net"],
  ["services/broker/src/providers/cloud.ts", "import { deciding } from \"@millrace/scheduler\"", "leans on services/scheduler"],
  ["services/broker/src/service.ts", "import { offers } from \"../../scheduler/src/domain/world.ts\"", "leans on services/scheduler"],
  ["infra/nats/src/x.ts", "import { HostService } from \"@millrace/host\"", "leans on services/host"]
]

const assertHolds = (rule: Rule) => assert.strictEqual(verdict(rule, sources), "")

describe("who may lean on whom", () => {
  it("the scan saw the whole product, in its rooms, with its imports", () => {
    assert.isAbove(sources.length, 150)
    assert.isAbove(sources.reduce((sum, { imports }) => sum + imports.length, 0), 500)
    for (const room of ["schemas", "libs/journal", "domain", "reactors", "assembly", "infra", "tests and tools"]) {
      assert.isTrue(sources.some(({ path }) => roomOf(path) === room), `no file was seen in ${room}`)
    }
    assert.strictEqual(packages.get("@millrace/journal"), "libs/journal")
  })

  for (const rule of roomRules(packages)) {
    it(`${rule.name}: ${rule.because}`, () => assertHolds(rule))
  }

  it("every file has a room", () => assertHolds(everyFileHasARoom))
  it("NATS and Postgres are spoken to behind their doors alone", () => assertHolds(clientsStayBehindTheirDoors))
  it("a start loads no package of which it wants little", () => assertHolds(startsStayLight))
  it("packages are entered by their doors", () => assertHolds(packagesAreEnteredByTheirDoors(packages)))
})

describe("the rules are seen to fail", () => {
  for (const [path, text, says] of planted) {
    it(`${path} breaks its room's rule and is told why`, () => {
      const file = source(path, text)
      const rule = roomRules(packages).find(({ name }) => name === `what ${roomOf(path)} may lean on`)!
      const said = verdict(rule, [file])
      assert.include(said, `${path}:1`)
      assert.include(said, says)
      assert.include(said, rule.because)
    })
  }

  it("every room but the free one has such a file", () => {
    const broken = new Set(planted.map(([path]) => roomOf(path)))
    assert.deepStrictEqual(table.map(({ room }) => room).filter((room) => !broken.has(room)), ["tests and tools"])
  })

  it("a folder that the table does not know is no room", () => {
    assert.include(verdict(everyFileHasARoom, [source("services/broker/src/helpers/x.ts", "")]), "services/broker/src/helpers/x.ts:1 lies in no room")
  })

  it("a heavy package is found, and its types and a load where it is used are not", () => {
    const said = verdict(startsStayLight, [
      source("services/gateway/src/service.ts", "import { NodeHttpServer } from \"@effect/platform-node\""),
      source("services/broker/src/providers/x.ts", "import type { EC2Client } from \"@aws-sdk/client-ec2\"\nconst sdk = await import(\"@aws-sdk/client-ec2\")\nimport { KubeConfig } from \"@kubernetes/client-node\"")
    ])
    assert.include(said, "services/gateway/src/service.ts:1 loads all of @effect/platform-node")
    assert.include(said, "services/broker/src/providers/x.ts:3 loads all of @kubernetes/client-node")
    assert.notInclude(said, "@aws-sdk")
  })

  it("a client beside its door is found, and told whose it is", () => {
    const said = verdict(clientsStayBehindTheirDoors, [
      source("services/host/src/machine/x.ts", "\nimport { connect } from \"@nats-io/transport-node\""),
      source("services/gateway/src/api/y.ts", "import postgres from \"postgres\"")
    ])
    assert.include(said, "services/host/src/machine/x.ts:2 speaks @nats-io/transport-node, which is for libs/journal")
    assert.include(said, "services/gateway/src/api/y.ts:1 speaks postgres, which is for libs/readmodel")
    assert.include(said, "Postgres has one door")
  })

  it("a path into another package is found", () => {
    const said = verdict(packagesAreEnteredByTheirDoors(packages), [source("libs/service/src/x.ts", "import { memoryJournal } from \"../../journal/src/memory.ts\"")])
    assert.include(said, "libs/service/src/x.ts:1 climbs into libs/journal by a path")
  })

  it("imports in comments and strings are none, and a type borrowed is told from a thing used", () => {
    const file = source("libs/wire/src/x.ts", [
      "// import { a } from \"kysely\"",
      "/* export * from \"kysely\" */",
      "const text = `import { b } from \"kysely\" and ${nested(`import \"${\"kysely\"}\"`)}`",
      "const quotes = /[\"'`/]/u, half = 4 / 2",
      "import type { C } from \"./c.ts\"",
      "import { type D, type E } from \"./d.ts\"",
      "export { F, type G } from \"./f.ts\""
    ].join("\n"))
    assert.deepStrictEqual(file.imports.map(({ line, specifier, typeOnly }) => [line, specifier, typeOnly]), [
      [5, "./c.ts", true],
      [6, "./d.ts", true],
      [7, "./f.ts", false]
    ])
  })
})
