import { Schema } from "effect"
import { assert, describe, it } from "vitest"
import { JobRequest, specOf } from "./request.ts"

const decode = Schema.decodeUnknownSync(JobRequest)
const sealed = { key: "acme/1", nonce: "bm9uY2U", sealed: "cHJvZ3JhbQ" } as const

describe("a gang's network", () => {
  it("is its own in sandboxes unless it wants none, and whoever asks for one gets a sandbox", () => {
    const gang = { members: 2, topology: "anywhere", onLoss: "end" }
    const asked = (terms: object, vouches = true) => {
      const { gang, runtime } = specOf(decode({ argv: ["true"], ...terms }), sealed, vouches)
      return [runtime, gang?.network]
    }
    assert.deepStrictEqual(asked({ gang }), ["process", undefined])
    assert.deepStrictEqual(asked({ gang }, false), ["sandbox", "private"])
    assert.deepStrictEqual(asked({ gang, runtime: "sandbox" }), ["sandbox", "private"])
    assert.deepStrictEqual(asked({ gang: { ...gang, network: "none" }, runtime: "sandbox" }), ["sandbox", "none"])
    assert.deepStrictEqual(asked({ gang: { ...gang, network: "private" } }), ["sandbox", "private"])
  })
})

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
