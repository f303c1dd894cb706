import { assert, describe, it } from "vitest"
import { defectOf, readManifest } from "./index.mjs"

describe("the manifest of this machine", () => {
  it("is valid, and says where every tool is", () => {
    const manifest = readManifest()
    assert.isUndefined(defectOf(manifest))
    assert.isUndefined(defectOf(JSON.parse(JSON.stringify(manifest))))
  })

  it("is refused when a tool, or its place, is missing from it", () => {
    const whole = readManifest()
    for (const name of ["node", "natsServer", "runsc", "bubblewrap", "postgres"]) {
      assert.include(defectOf({ ...whole, [name]: undefined }), name)
      assert.include(defectOf({ ...whole, [name]: { path: "" } }), name)
    }
    assert.isString(defectOf({ ...whole, made: undefined }))
    assert.isString(defectOf({ ...whole, version: 0 }))
    for (const nonsense of [null, [], "text", 1]) assert.isString(defectOf(nonsense))
  })

  it("may say that isolation is missing, with the remedy", () => {
    assert.isUndefined(defectOf({ ...readManifest(), runsc: { missing: "not found", remedy: "install it", seen: "" } }))
  })

})
