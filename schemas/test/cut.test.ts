import { assert, describe, it } from "@effect/vitest"
import { cutFrom, cutText } from "../src/cut.ts"

describe("cuts as text", () => {
  it("a cut comes back as it went", () => {
    for (const cut of [{}, { GATEWAY: 12 }, { SCHEDULER: 40, GATEWAY: 12 }]) assert.deepStrictEqual(cutFrom(cutText(cut)), cut)
    assert.strictEqual(cutText({ SCHEDULER: 40, GATEWAY: 12 }), "GATEWAY=12,SCHEDULER=40")
  })

  it("what is no cut is none", () => {
    for (const text of ["GATEWAY", "GATEWAY=", "gateway=1", "GATEWAY=1,", "GATEWAY=-1", "GATEWAY=1;"]) assert.isUndefined(cutFrom(text), text)
  })
})
