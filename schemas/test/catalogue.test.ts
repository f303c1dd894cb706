import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import {
  decodeFact, encodeFact, filterOf, type Kind, kinds, type MillFact, nameOf, parseSubject, streamNames, subjectsOf, subjectText, versions,
  GrantId, JobName, JobSpec, type JobSubmitted, SnapshotId
} from "../src/index.ts"

const all: ReadonlyArray<Kind> = kinds

/** Whether some subject matches both filters. */
const overlap = (one: string, other: string): boolean => {
  const [a, b] = [one.split("."), other.split(".")]
  return a.length === b.length && a.every((token, index) => token === "*" || b[index] === "*" || token === b[index])
}

describe("the catalogue", () => {
  it("has every kind of the first version, and each stream has something to hold", () => {
    const names = new Set(all.map(({ kind }) => kind))
    for (
      const kind of [
        "job", "ask", "answer", "session", "schedule", "placement", "demand", "fleet", "host", "attempt", "machine", "market",
        "plan", "snapshot", "image", "principal", "policy", "grant", "warrant", "admission", "decision", "budget", "pricebook",
        "period", "checkpoint", "aside"
      ]
    ) assert.isTrue(names.has(kind), kind)
    for (const stream of streamNames) assert.isAbove(subjectsOf(all, stream).length, 0, stream)
    assert.isAbove(versions.size, 100)
  })

  it("gives no subject to two kinds, so that no stream takes what another one holds", () => {
    const filters = all.map((kind) => filterOf(kind))
    for (const [index, filter] of filters.entries()) {
      for (const other of filters.slice(index + 1)) assert.isFalse(overlap(filter, other), `${filter} and ${other}`)
    }
    assert.isTrue(overlap("mill.grant.*.*", "mill.grant.acme.*"), "the check itself can fail")
  })

  it("writes each decision where its own service writes, and gives each host a subject of its own", () => {
    const points = all.filter(({ kind }) => kind === "decision").map((kind) => [kind.only, kind.stream, filterOf(kind)])
    assert.deepStrictEqual(points, [
      ["gateway", "GATEWAY", "mill.decision.gateway"],
      ["scheduler", "SCHEDULER", "mill.decision.scheduler"],
      ["host", "HOSTS", "mill.decision.host.*"],
      ["access", "ACCESS", "mill.decision.access"]
    ])
    const subject = { kind: "decision", scope: "host", story: "hst_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D" }
    assert.deepStrictEqual(parseSubject(subjectText(subject)), subject)
  })

  it("says nothing with words that fit everywhere", () => {
    for (const { facts } of all) {
      for (const schema of facts) {
        for (const field of Object.keys(schema.fields)) {
          assert.notMatch(field, /^(status|type|data|info|payload|metadata|value)$/u, `${nameOf(schema)}.${field}`)
        }
      }
    }
  })

  it("has an ask for every answer: whoever can answer names the ask, and no fact of the gateway does", () => {
    const answering = all.filter(({ facts }) => facts.some((schema) => "answers" in schema.fields))
    assert.deepStrictEqual([...new Set(answering.map(({ stream }) => stream))].sort(), ["ACCESS", "METERING", "SCHEDULER", "SNAPSHOTS"])
    const asks = all.find(({ kind }) => kind === "ask")?.facts ?? []
    assert.isAbove(asks.length, 10)
    for (const schema of asks) {
      for (const field of ["askId", "workspace", "askedBy", "decision"]) assert.property(schema.fields, field, nameOf(schema))
    }
  })

  it("keeps optional fields absent, never undefined: a log has no undefined", () => {
    for (const { facts } of all) {
      for (const schema of facts) {
        const json = JSON.stringify(Schema.toJsonSchemaDocument(schema).schema)
        assert.notInclude(json, '"type":"null"', `${nameOf(schema)} has a nullable or undefined field; use optionalKey`)
      }
    }
  })

  it("drops fields it does not know, and refuses bodies that break a rule, naming the field", () => {
    const body = { jobId: "job_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D", workspace: "acme", reason: "no_room", arithmetic: "2 of 1", unblockedBy: "capacity" }
    const read = Result.getOrThrow(decodeFact("JobDeferred", 1, { ...body, fromTheFuture: 1 })) as MillFact
    assert.deepStrictEqual(encodeFact(read).body, body)
    const broken = decodeFact("JobDeferred", 1, { ...body, workspace: "a.b" })
    assert.isTrue(Result.isFailure(broken) && broken.failure.reason.includes("workspace"))
    const newer = decodeFact("JobDeferred", 2, body)
    assert.isTrue(Result.isFailure(newer) && newer.failure.message.includes("versions up to 1"))
  })

  it("writes a job in the shape that the first release reads when that release would do right by it, and else in one that it cannot read", () => {
    const plain = Result.getOrThrow(decodeFact("JobSubmitted", 1, {
      jobId: "job_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      workspace: "acme",
      submittedBy: "user:ada",
      spec: { runtime: "process", trust: "own", resources: { cpuMilli: 1, memoryMib: 1, diskMib: 0, gpus: 0 } },
      requestDigest: `sha256:${"0".repeat(64)}`,
      decision: { rule: "role", view: {} }
    })) as JobSubmitted
    assert.strictEqual(encodeFact(plain).version, 1)
    assert.strictEqual(encodeFact({ ...plain, name: JobName.make("nightly") }).version, 1)
    assert.strictEqual(encodeFact({ ...plain, grant: GrantId.make("grt_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D") }).version, 2)
    const asked: ReadonlyArray<Partial<JobSpec>> = [
      { array: { tasks: 2 } },
      { after: [{ jobId: plain.jobId, on: "over" }] },
      { queueMsMax: 1 },
      { startMsMax: 1 },
      { idleMsMax: 1_000 },
      { deadline: { atMs: 2, workMs: 1 } },
      { egress: [] },
      { gpu: [{ model: "H100" }, { memoryMibMin: 40_960 }] },
      { where: { only: { residency: ["eu"] }, spot: "tolerated" } },
      { reads: { blobs: [] } },
      { priority: 80 },
      { gang: { members: 2, topology: "fabric", onLoss: "restart" } },
      { snapshotAtEnd: "files" },
      { startFrom: SnapshotId.make("snp_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D") },
      { dialect: 2 }
    ]
    for (const one of asked) {
      const written = encodeFact({ ...plain, spec: { ...plain.spec, ...one } })
      assert.strictEqual(written.version, 2, JSON.stringify(one))
      assert.deepStrictEqual(Result.getOrThrow(decodeFact(written.name, written.version, written.body)), { ...plain, spec: { ...plain.spec, ...one } })
    }
    const known = ["runtime", "trust", "resources", "program", "attemptsMax", "runMsMax", "onSilence"]
    assert.deepStrictEqual(Object.keys(JobSpec.fields).filter((field) => !known.includes(field)).sort(), asked.flatMap((one) => Object.keys(one)).sort(),
      "a field that the first release does not know is said here, and in the upcast")
  })

  it("keeps money exact: a bigint here, a decimal string in the log", () => {
    const leased = Result.getOrThrow(decodeFact("SliceReturned", 1, {
      workspace: "acme",
      account: "acc_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      slice: "slc_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      amountPico: "9007199254740993",
      cause: "settled"
    }))
    assert.strictEqual(leased._tag === "SliceReturned" ? leased.amountPico : undefined, 9_007_199_254_740_993n)
    assert.strictEqual(encodeFact(leased).body["amountPico"], "9007199254740993")
  })
})
