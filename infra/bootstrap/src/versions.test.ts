import { assert, describe, it } from "vitest"
import { compareVersions, natsServerRefusal, nodeRefusal, versionIn } from "./index.mjs"

describe("versions", () => {
  it("are read from what programs print", () => {
    assert.deepStrictEqual(versionIn("nats-server: v2.15.1"), [2, 15, 1])
    assert.deepStrictEqual(versionIn("postgres (PostgreSQL) 18.4"), [18, 4])
    assert.deepStrictEqual(versionIn("runsc version 0.0~20240729.0\nspec: 1.2.1"), [20240729])
    assert.deepStrictEqual(versionIn("runsc version release-20250113.0"), [20250113])
    assert.deepStrictEqual(versionIn("bubblewrap 0.8.0"), [0, 8, 0])
    assert.isUndefined(versionIn("no such command"))
  })

  it("compare place by place, as numbers", () => {
    assert.isBelow(compareVersions([2, 9, 10], [2, 12, 3]), 0)
    assert.isAbove(compareVersions([2, 12, 10], [2, 12, 9]), 0)
    assert.isBelow(compareVersions([2, 12], [2, 12, 3]), 0)
    assert.strictEqual(compareVersions([2, 12, 0], [2, 12]), 0)
  })

  it("a nats-server that loses updates is refused, with the measurement", () => {
    for (const lossy of ["nats-server: v2.9.10", "nats-server: v2.12.2"]) assert.include(natsServerRefusal(lossy), "473 of 24,625")
    for (const sound of ["nats-server: v2.12.3", "nats-server: v2.15.1", "nats-server: v3.0.0"]) assert.isUndefined(natsServerRefusal(sound))
    assert.include(natsServerRefusal("Segmentation fault"), "no version")
  })

  it("an old Node is refused in one sentence that says what to type", () => {
    assert.include(nodeRefusal("20.20.2"), "npm start")
    assert.isUndefined(nodeRefusal("24.0.0"))
    assert.isUndefined(nodeRefusal("26.1.0"))
  })
})
