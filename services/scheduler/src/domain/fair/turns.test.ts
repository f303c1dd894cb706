import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type Amounts, amountsOf } from "./amounts.ts"
import { compareShares, dominantShare } from "./shares.ts"
import { Turns } from "./turns.ts"
import { QuotaLedger, type QuotaNode, QuotaTree } from "./tree.ts"

const some = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 6 })))
const node = (name: string, parent: string | undefined, weight: number): QuotaNode => ({ name, parent, weight, limits: new Map() })

/** Serves whose turn it is until nobody's next piece fits any more; gives how many pieces each got. */
const served = (ledger: QuotaLedger, capacity: Amounts, wants: ReadonlyMap<string, Amounts>): ReadonlyMap<string, number> => {
  const turns = new Turns(ledger, capacity, wants.keys())
  const left = new Map(capacity)
  const got = new Map<string, number>()
  for (let name = turns.first(); name !== undefined; name = turns.first()) {
    const want = wants.get(name)!
    const fits = [...want].every(([dimension, amount]) => amount <= (left.get(dimension) ?? 0))
    if (fits) {
      for (const [dimension, amount] of want) left.set(dimension, left.get(dimension)! - amount)
      ledger.take(name, want)
      got.set(name, (got.get(name) ?? 0) + 1)
    }
    turns.moved(!fits)
  }
  return got
}

describe("whose turn it is", () => {
  it("dominant shares are made equal: the example of the paper", () => {
    const capacity: Amounts = new Map([["cpuMilli", 9], ["memoryMib", 18]])
    const got = served(new QuotaLedger(new QuotaTree()), capacity, new Map([
      ["workspace/a", new Map([["cpuMilli", 1], ["memoryMib", 4]])],
      ["workspace/b", new Map([["cpuMilli", 3], ["memoryMib", 1]])]
    ]))
    assert.deepStrictEqual([...got], [["workspace/a", 3], ["workspace/b", 2]])
  })

  it("who is due more parts gets more, at every level of the tree", () => {
    const tree = new QuotaTree([node("cohort/x", undefined, 3), node("workspace/a", "cohort/x", 1), node("workspace/b", "cohort/x", 2), node("workspace/c", undefined, 1)])
    const core: Amounts = new Map([["cpuMilli", 1]])
    const got = served(new QuotaLedger(tree), new Map([["cpuMilli", 12]]), new Map([["workspace/a", core], ["workspace/b", core], ["workspace/c", core]]))
    assert.deepStrictEqual(Object.fromEntries(got), { "workspace/a": 3, "workspace/b": 6, "workspace/c": 3 })
  })

  it("shares are compared exactly, and of what is not there any part is more than all that is", () => {
    const one = dominantShare(amountsOf({ cpuMilli: 9_007_199_254_740_990, memoryMib: 0, diskMib: 0, gpus: 0 }), new Map([["cpuMilli", 9_007_199_254_740_991]]), 1)
    const other = dominantShare(amountsOf({ cpuMilli: 9_007_199_254_740_989, memoryMib: 0, diskMib: 0, gpus: 0 }), new Map([["cpuMilli", 9_007_199_254_740_991]]), 1)
    assert.isAbove(compareShares(one, other), 0)
    const none = dominantShare(new Map([["gpuMilli", 1]]), new Map(), 1)
    assert.isAbove(compareShares(none, one), 0)
    assert.strictEqual(compareShares(none, none), 0)
  })

  it.prop("a turn is always the smallest share's, as if all were compared anew", [Schema.Array(Schema.Struct({ cpu: some, memory: some, weight: some, cohort: some })).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(6)))], ([wants]) => {
    const tree = new QuotaTree(wants.map(({ cohort, weight }, at) => node(`workspace/${at}`, cohort > 3 ? `cohort/${cohort}` : undefined, weight)))
    const ledger = new QuotaLedger(tree)
    const capacity: Amounts = new Map([["cpuMilli", 40], ["memoryMib", 40]])
    const names = wants.map((_, at) => `workspace/${at}`)
    const turns = new Turns(ledger, capacity, names)
    const rank = (name: string) => [...tree.path(name)].reverse()
    const share = (name: string) => dominantShare(ledger.held(name), capacity, tree.weightOf(name))
    const before = (left: string, right: string): number => {
      const [one, other] = [rank(left), rank(right)]
      for (let at = 0; at < Math.min(one.length, other.length); at += 1) {
        if (one[at] === other[at]) continue
        return compareShares(share(one[at]!), share(other[at]!)) || (one[at]! < other[at]! ? -1 : 1)
      }
      return 0
    }
    const left = new Set(names)
    for (let turn = 0; left.size > 0; turn += 1) {
      const first = turns.first()!
      assert.strictEqual(first, [...left].sort(before)[0])
      const { cpu, memory } = wants[Number(first.slice("workspace/".length))]!
      ledger.take(first, new Map([["cpuMilli", cpu], ["memoryMib", memory]]))
      const leaves = turn % 5 === 4
      if (leaves) left.delete(first)
      turns.moved(leaves)
    }
    assert.isUndefined(turns.first())
  }, { arbitrary: { runs: 500 } })
})
