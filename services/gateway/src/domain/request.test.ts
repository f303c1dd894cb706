import { Schema } from "effect"
import { assert, describe, it } from "vitest"
import { JobRequest, specOf } from "./request.ts"

const decode = Schema.decodeUnknownSync(JobRequest)
const sealed = { key: "acme/1", nonce: "bm9uY2U", sealed: "cHJvZ3JhbQ" } as const

describe("what a job's agent must understand", () => {
  it("follows from what the job asks for, and is no more than that", () => {
    const dialectOf = (terms: object) => specOf(decode({ argv: ["true"], ...terms }), sealed, true).dialect
    assert.isUndefined(dialectOf({ queueMsMax: 5 }))
    assert.strictEqual(dialectOf({ array: { tasks: 2 } }), 2)
    assert.strictEqual(dialectOf({ array: { tasks: 2 }, gpu: [{}] }), 3)
    assert.strictEqual(dialectOf({ gpu: [{}], idleMsMax: 1_000 }), 4)
    assert.strictEqual(dialectOf({ startMsMax: 1 }), 4)
  })

  it("comes with the limits themselves", () => {
    assert.deepInclude(specOf(decode({ argv: ["true"], startMsMax: 5, idleMsMax: 6_000 }), sealed, true), { startMsMax: 5, idleMsMax: 6_000 })
  })
})
