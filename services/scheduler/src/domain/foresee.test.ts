import { assert, describe, it } from "@effect/vitest"
import { needs } from "../testing/cell.ts"
import { QuotaLedger, QuotaTree } from "./fair/tree.ts"
import { foresee, grantLimits, quotaLimit } from "./foresee.ts"
import type { HostRoom } from "./nearest.ts"

const need = { resources: needs(1000), runtime: "process", trust: "own" }
const room = (hostId: string, free: number, labels: Record<string, string> = {}, cores = 4): HostRoom => ({
  hostId, state: "joined", takesWork: true, capabilities: { resources: needs(cores * 1000, 4000), runtimes: ["process"], trusts: ["own"] }, free: needs(free * 1000, 4000), labels
})
const gang = (members: number, topology: "host" | "fabric" | "anywhere") => ({ tasks: members, gang: { members, topology } })

describe("a gang that is planned", () => {
  const hosts = [room("a", 1, { fabric: "x" }), room("b", 2, { fabric: "x" }), room("c", 3)]

  it("goes now where one domain has room for all of it, and waits where it would have when empty", () => {
    assert.deepInclude(foresee(need, gang(3, "fabric"), hosts), { verdict: "now", roomNow: 3, hostsNow: 2 })
    assert.deepInclude(foresee(need, gang(4, "fabric"), hosts), { verdict: "later", roomNow: 3, sentence: "It would wait: its 4 members begin together on one fabric, and the roomiest of 1 has room for 3 now." })
    assert.deepInclude(foresee(need, gang(9, "fabric"), hosts), { verdict: "nowhere", sentence: "No hosts here could hold it: its 9 members begin together on one fabric, and the largest has room for 8 even when empty." })
    assert.deepInclude(foresee(need, gang(6, "anywhere"), hosts), { verdict: "now", roomNow: 6 })
    assert.deepInclude(foresee(need, gang(4, "host"), hosts), { verdict: "later" })
    assert.include(foresee(need, gang(2, "fabric"), [room("c", 3)]).sentence, "says which fabric it is on")
  })
})

it("looks at each host of a large cell a few times, whatever is planned: who decides runs in the same process", () => {
  const count = 500
  for (const planned of [gang(2_000, "anywhere"), { tasks: 2_000 }]) {
    let looks = 0
    const hosts = Array.from({ length: count }, (_, at) => {
      const host = room(`h${at}`, 4)
      return { ...host, get hostId() {
        looks += 1
        return host.hostId
      } }
    })
    assert.strictEqual(foresee(need, planned, hosts).roomNow, 2_000)
    assert.isAtMost(looks, 20 * count)
  }
})

describe("a quota and a grant", () => {
  const tree = new QuotaTree([{ name: "workspace/acme", parent: undefined, weight: 1, limits: new Map([["cpuMilli", { nominal: 2000, borrowingMax: 0 }]]) }])
  const full = new QuotaLedger(tree, [["workspace/acme", new Map([["cpuMilli", 1500]])]])

  it("make it wait where there is room, or never let it", () => {
    const hosts = [room("a", 4)]
    assert.deepStrictEqual(quotaLimit(new QuotaLedger(tree), "workspace/acme", needs(1000), 2), [])
    const waits = foresee(need, { tasks: 1 }, hosts, quotaLimit(full, "workspace/acme", needs(1000), 1))
    assert.deepStrictEqual([waits.verdict, waits.sentence], ["later", "It would wait: workspace/acme needs 1 core and can have 0.5 cores more: it is due 2 cores, and 1.5 cores are taken."])
    const never = foresee(need, gang(3, "anywhere"), hosts, quotaLimit(full, "workspace/acme", needs(1000), 3))
    assert.deepStrictEqual([never.verdict, never.limits[0]?.never], ["nowhere", true])
    assert.include(never.sentence, "It would be refused: ")
  })

  it("count the members of a gang together", () => {
    const wants = { ...needs(1), gpus: 2 }
    assert.deepStrictEqual(grantLimits({ concurrencyMax: 3, gpusMax: 6 }, wants, 3), [])
    assert.deepStrictEqual(grantLimits({ concurrencyMax: 2, gpusMax: 5 }, wants, 3).map(({ never, sentence }) => [never, sentence]), [
      [true, "its grant allows 2 at once, and its 3 members begin together"], [true, "its grant allows 5 GPUs at once, and this needs 6"]
    ])
  })
})
