import { assert, describe, it } from "@effect/vitest"
import { isolationOf, type JobSubmitted, type MillFact, type Where } from "@millrace/schemas"
import { admitted, given, host, joined, submitted } from "../testing/cell.ts"

const here = (name: string, labels: Record<string, string>, runtimes: ReadonlyArray<"process" | "sandbox"> = ["process", "sandbox"]): ReadonlyArray<MillFact> => {
  const said = joined(name) as Extract<MillFact, { _tag: "HostJoined" }>
  return [admitted(name), { ...said, dialect: 3, capabilities: { ...said.capabilities, runtimes, labels } }]
}
const asks = (name: string, where: Where, runtime: "process" | "sandbox" = "sandbox"): MillFact => {
  const said = submitted(name) as JobSubmitted
  return { ...said, spec: { ...said.spec, runtime, where } }
}
const userns = { sandbox: "gvisor", "sandbox-account": "a range of its own" }
const shared = { sandbox: "gvisor", "sandbox-account": "the agent's" }
const two = [...here("a", shared), ...here("b", userns)]

describe("a rung of isolation", () => {
  it("is called by what a host has proved, or by what it says of itself", () => {
    assert.deepStrictEqual([userns, shared, { sandbox: "none: no runsc" }, {}, { ...shared, isolation: "kata" }, { isolation: "not a name" }].map(isolationOf), ["gvisor-userns", "gvisor", "none", "none", "kata", "none"])
  })

  it("that is asked for is met, or the job waits and is told what is missing", () => {
    const cell = given(...two, asks("1", { only: { isolation: ["gvisor-userns"] } }), asks("2", { only: { isolation: ["gvisor"] } }))
    cell.rest()
    assert.deepStrictEqual([cell.placed("1").hostId, cell.placed("2").hostId], [host("b"), host("a")])
    const without = given(...here("a", shared), asks("1", { only: { isolation: ["gvisor-userns"] } }))
    without.rest()
    assert.isUndefined(without.placed("1"))
    assert.include(["no_host"], without.said("JobDeferred")[0]?.reason)
  })

  it("that is wished for goes before packing, and keeps nobody waiting", () => {
    const wish = { rather: { isolation: ["gvisor-userns"] } }
    const cell = given(...two, asks("1", wish))
    cell.rest()
    assert.strictEqual(cell.placed("1").hostId, host("b"))
    const without = given(...here("a", shared), asks("1", wish))
    without.rest()
    assert.strictEqual(without.placed("1").hostId, host("a"))
    assert.include(without.placed("1").reason, "not as wished")
  })

  it("is of sandboxes alone: what is no sandbox is kept apart by nothing, wherever it runs", () => {
    const cell = given(...two, asks("1", { only: { isolation: ["gvisor", "gvisor-userns"] } }, "process"), asks("2", { only: { isolation: ["gvisor", "none"] } }, "process"))
    cell.rest()
    assert.isUndefined(cell.placed("1"))
    assert.isDefined(cell.placed("2"))
  })
})
