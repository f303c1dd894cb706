import { assert, describe, it } from "@effect/vitest"
import { hash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { streamConfig } from "@millrace/journal/jetstream"
import { dictionary, kinds, nameOf, streamNames } from "@millrace/schemas"
import { noDecisionLooksAround, noFactIsChanged, noServiceCallsAnother, noTableIsReadByTwoServices, whatForgets, whatStandsBesideTheJournal } from "./absences.ts"
import { filesBelow, packagesOnDisk, root, type Rule, source, sourcesOnDisk, verdict } from "./source.ts"

const sources = sourcesOnDisk()
const packages = packagesOnDisk()
const callers = noServiceCallsAnother(packages)

const assertHolds = (rule: Rule) => {
  assert.isAbove(sources.length, 150)
  assert.isTrue(sources.some(({ path }) => path.startsWith("services/scheduler/src/domain/")))
  assert.strictEqual(verdict(rule, sources), "")
}

/** Plants one file and demands that the failure names it, its line and the reason. */
const assertFinds = (rule: Rule, path: string, text: string, says: string) => {
  const said = verdict(rule, [source(path, text)])
  assert.include(said, `${path}:`)
  assert.include(said, says)
  assert.include(said, rule.because)
}

describe("no service calls another", () => {
  it("none does", () => assertHolds(callers))
  it("an import of another service is found", () => {
    assertFinds(callers, "services/metering/src/service.ts", "import { scheduler } from \"@millrace/scheduler\"", "imports the service scheduler")
    assertFinds(callers, "services/metering/src/store/x.ts", "import { x } from \"../../../access/src/domain/x.ts\"", "imports the service access")
  })
  it("a request from a reactor is found, by function, client or module", () => {
    assertFinds(callers, "services/broker/src/reactors/x.ts", "const asked = await fetch(url)", "asks somebody with fetch")
    assertFinds(callers, "services/broker/src/projections/x.ts", "import { HttpClient } from \"effect/http\"", "opens sockets with effect/http")
    assertFinds(callers, "services/broker/src/reactors/y.ts", "import { request } from \"node:https\"", "opens sockets with node:https")
  })
  it("the address of another service is found wherever it stands", () => {
    assertFinds(callers, "services/broker/src/providers/x.ts", "const at = \"http://scheduler:4000\"", "knows the address of another service")
    assertFinds(callers, "services/broker/src/main.ts", "Config.String(\"MILLRACE_ACCESS_URL\")", "knows the address of another service")
  })
})

describe("no table is read by two services", () => {
  it("none is", () => {
    assert.isTrue(sources.some(({ path }) => /^services\/\w+\/src\/projections\//u.test(path)), "no projection was seen")
    assertHolds(noTableIsReadByTwoServices)
  })
  it("a query, a projection or plain SQL on another's table is found", () => {
    assertFinds(noTableIsReadByTwoServices, "services/metering/src/projections/x.ts", "db.selectFrom(\"gateway.jobs\").selectAll()", "uses gateway's table gateway.jobs")
    assertFinds(noTableIsReadByTwoServices, "services/metering/src/api/x.ts", "sql`select 1\n from gateway.jobs`", "uses gateway's table in")
    assertFinds(noTableIsReadByTwoServices, "services/metering/src/projections/y.ts", "export const jobs = projection<T>()<E>({\n  name: \"gateway.jobs\"", "uses gateway's table gateway.jobs")
  })
})

describe("no decision looks at a clock, chance or a socket", () => {
  it("none does", () => assertHolds(noDecisionLooksAround))
  it("every way to look around is found", () => {
    for (const [text, says] of [
      ["const now = Date.now()", "looks at Date"],
      ["const at = new Date()", "looks at Date"],
      ["const n = Math.random()", "looks at Math.random"],
      ["performance.now()", "looks at performance"],
      ["setTimeout(f, 1)", "looks at setTimeout"],
      ["const home = process.env.HOME", "looks at process"],
      ["yield* Clock.currentTimeMillis", "looks at Clock"],
      ["yield* Random.next", "looks at Random"],
      ["import { randomUUID } from \"node:crypto\"", "takes randomUUID from node:crypto"],
      ["import { connect } from \"node:net\"", "reaches the machine through node:net"],
      ["import { readFileSync } from \"node:fs\"", "reaches the machine through node:fs"]
    ] as const) assertFinds(noDecisionLooksAround, "services/broker/src/domain/lease.ts", `\n${text}`, says)
  })
  it("a hash is allowed, and so is a word in a comment or a sentence", () => {
    const file = source("services/broker/src/domain/lease.ts", "import { hash } from \"node:crypto\"\n// Date.now() would differ\nconst why = \"the Clock of another process\"")
    assert.strictEqual(verdict(noDecisionLooksAround, [file]), "")
  })
})

describe("no fact is ever changed", () => {
  it("nobody changes what a stream holds", () => assertHolds(noFactIsChanged))
  it("a purge, a deletion, an update or a header that does it is found", () => {
    for (const [text, says] of [
      ["await jsm.streams.purge(\"GATEWAY\")", "changes what a stream holds"],
      ["await jsm.streams.deleteMessage(name, 4)", "changes what a stream holds"],
      ["await jsm.streams.update(name, {})", "changes what a stream holds"],
      ["headers.set(\"Nats-Rollup\", \"all\")", "names a way to change what a stream holds: Nats-Rollup"],
      ["connection.request(`$JS.API.STREAM.PURGE.${name}`)", "names a way to change what a stream holds: $JS.API.STREAM.PURGE."]
    ] as const) assertFinds(noFactIsChanged, "services/metering/src/reactors/x.ts", text, says)
  })
  it("no stream lets a fact be deleted, purged, rolled up, aged out or pushed out", () => {
    assert.isAbove(streamNames.length, 5)
    for (const stream of streamNames) assert.deepStrictEqual(whatForgets(streamConfig(stream)), [], `${stream}: ${noFactIsChanged.because}`)
  })
  it("a stream that would let one go is found", () => {
    const config = streamConfig("HOSTS")
    for (const [field, value] of [["deny_delete", false], ["deny_purge", undefined], ["allow_rollup_hdrs", true], ["max_age", 1], ["allow_msg_ttl", true], ["discard", "old"]] as const) {
      const [found] = whatForgets({ ...config, [field]: value })
      assert.include(found, `${field} is ${String(value)}`)
    }
  })
  it("what has been said is frozen: each sample has the digest under which it was released", () => {
    const frozen = JSON.parse(readFileSync(join(root, "schemas/samples/frozen.json"), "utf8")) as { readonly samples: Readonly<Record<string, string>> }
    const released = Object.entries(frozen.samples)
    assert.isAbove(released.length, 100)
    for (const [name, digest] of released) {
      assert.include(digest, hash("sha256", readFileSync(join(root, "schemas/samples", name), "utf8"), "hex"), name)
    }
    assert.isAbove(dictionary.length, 30)
  })
})

describe("no heartbeat, log line, sample, file or secret is in the journal", () => {
  const documents = filesBelow("schemas/generated/json-schema").map((path) => ({ path, schema: JSON.parse(readFileSync(join(root, path), "utf8")) as unknown }))

  it("no fact holds one", () => {
    const documented = new Set(documents.map(({ path }) => /([A-Za-z]+)\.v\d+\.json$/u.exec(path)?.[1]))
    const facts = new Set(kinds.flatMap(({ facts }) => facts.map((fact) => nameOf(fact))))
    assert.isAbove(facts.size, 50)
    assert.deepStrictEqual([...facts].filter((name) => !documented.has(name)), [], "facts without a document: npm run schemas")
    assertHolds(whatStandsBesideTheJournal(documents))
  })
  it("each of them is found, however deep it lies", () => {
    for (const [name, says] of [
      ["heartbeat", "a heartbeat"], ["stdout", "a log line"], ["samples", "a sample"], ["content", "a file"], ["password", "a secret"], ["env", "a secret"]
    ] as const) {
      const rule = whatStandsBesideTheJournal([{
        path: "schemas/generated/json-schema/HostSeen.v1.json",
        schema: { properties: { inner: { anyOf: [{ items: { properties: { [name]: { type: "string" } } } }] } } }
      }])
      const said = verdict(rule, sources)
      assert.include(said, `HostSeen.v1.json:1 HostSeen.inner[].${name} looks like ${says}`)
      assert.include(said, rule.because)
    }
  })
  it("raw bytes are found, and a count of bytes is not", () => {
    const rule = (shape: object) => whatStandsBesideTheJournal([{ path: "X.v1.json", schema: { properties: { bytes: shape } } }])
    assert.include(verdict(rule({ type: "string", contentEncoding: "base64" }), sources), "X.bytes holds raw bytes")
    assert.strictEqual(verdict(rule({ type: "integer" }), sources), "")
  })
})
