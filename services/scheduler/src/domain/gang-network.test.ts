import { assert, describe, it } from "@effect/vitest"
import type { GangTerms, MillFact } from "@millrace/schemas"
import { admitted, Cell, exited, given, host, joined, needs, submitted } from "../testing/cell.ts"

const here = (name: string, labels: Record<string, string> = {}, cpuMilli = 1000): ReadonlyArray<MillFact> => {
  const said = joined(name, needs(cpuMilli, 100_000)) as Extract<MillFact, { _tag: "HostJoined" }>
  return [admitted(name), { ...said, dialect: 3, capabilities: { ...said.capabilities, runtimes: ["process", "sandbox"], labels } }]
}
const far = (at: string) => ({ "gang-network": "hosts", "gang-network-address": at })
const near = { "gang-network": "host" }
const asks = (name: string, more: Partial<GangTerms> = {}, runtime: "process" | "sandbox" = "sandbox", spec: Parameters<typeof submitted>[1] = {}) =>
  submitted(name, { ...spec, runtime, gang: { members: 2, topology: "anywhere", onLoss: "end", ...more }, dialect: 3 })
const networks = (cell: Cell) => cell.said("PlacementMade").map(({ gang }) => gang?.network)

describe("the network of a gang", () => {
  it("is named after its first member, and says where each member's host takes its datagrams", () => {
    const cell = given(...here("a", far("10.0.0.1:7")), ...here("b", far("10.0.0.2:7")), asks("g", { network: "private" }))
    cell.rest(0)
    const made = cell.said("PlacementMade")
    const hosts = made.map(({ hostId }) => (hostId === host("a") ? "10.0.0.1:7" : "10.0.0.2:7"))
    assert.deepStrictEqual(networks(cell), [{ id: made[0]!.attemptId, hosts }, { id: made[0]!.attemptId, hosts }])
    assert.strictEqual(new Set(hosts).size, 2)
  })

  it("needs no address where all members share a host", () => {
    const cell = given(...here("a", near, 2000), asks("g", { network: "private", topology: "host" }))
    cell.rest(0)
    assert.deepStrictEqual(networks(cell).map((network) => network?.hosts), [[host("a"), host("a")], [host("a"), host("a")]])
  })

  it("that hosts cannot make keeps the gang waiting, and it is said why", () => {
    const cell = given(...here("a", near), ...here("b"), ...here("c", { "gang-network": "none: the agent is not root" }), asks("g", { network: "private" }))
    cell.rest(0)
    assert.deepStrictEqual(networks(cell), [])
    assert.strictEqual(cell.said("JobDeferred")[0]?.arithmetic, "its 2 members begin together in a network of their own; no host takes one of them and can make such a network")
    cell.hear(...here("d", far("10.0.0.3:7")), ...here("e", far("10.0.0.4:7")))
    cell.rest(1)
    assert.deepStrictEqual(networks(cell)[0]?.hosts.toSorted(), ["10.0.0.3:7", "10.0.0.4:7"])
  })

  it("of one that does not say is there where all of its hosts can make it, and else it goes without", () => {
    const gets = (hosts: ReadonlyArray<MillFact>, ...asked: Parameters<typeof asks>) => {
      const cell = given(...hosts, asks(...asked))
      cell.rest(0)
      return networks(cell).map((network) => network !== undefined)
    }
    const [one, other] = [here("a", far("10.0.0.1:7")), here("b", far("10.0.0.2:7"))]
    assert.deepStrictEqual(gets([...one, ...other], "g"), [true, true])
    assert.deepStrictEqual(gets([...one, ...here("b", near)], "g"), [false, false])
    assert.deepStrictEqual(gets([...one, ...other], "g", { network: "none" }), [false, false])
    assert.deepStrictEqual(gets([...one, ...other], "g", {}, "process"), [false, false])
    assert.deepStrictEqual(gets([...one, ...other], "g", { network: "private" }, "process"), [])
  })

  it("has another name when the gang begins again", () => {
    const members = { attemptsMax: 2, array: { tasks: 2 } }
    const cell = given(...here("a", far("10.0.0.1:7")), ...here("b", far("10.0.0.2:7")), asks("g", { onLoss: "restart" }, "sandbox", members))
    cell.rest(0)
    const first = cell.said("PlacementMade")
    cell.hear(exited(first[0]!, { code: 1 }), exited(first[1]!, { cause: "withdrawn" }))
    cell.rest(1)
    const names = networks(cell).map((network) => network?.id)
    assert.deepStrictEqual([names[0] === names[1], names[2] === names[3], names[0] === names[2]], [true, true, false])
  })
})
