import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type Amounts } from "./amounts.ts"
import { type Limit, QuotaLedger, type QuotaNode, QuotaTree } from "./tree.ts"

const runs = { arbitrary: { runs: 500 } }
const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 9 })))
const dimensions = ["cpuMilli", "gpuMilli"]

const LimitOf = Schema.Struct({ nominal: few, borrowingMax: Schema.UndefinedOr(few), lendingMax: Schema.UndefinedOr(few) })
/** Four workspaces under two cohorts, one of which may stand below the other. */
const Tree = Schema.Struct({
  cohorts: Schema.Tuple([Schema.Array(LimitOf).pipe(Schema.check(Schema.isMaxLength(2))), Schema.Array(LimitOf).pipe(Schema.check(Schema.isMaxLength(2)))]),
  nested: Schema.Boolean,
  leaves: Schema.Array(Schema.Struct({ cohort: few, limits: Schema.Array(LimitOf).pipe(Schema.check(Schema.isMaxLength(2))) })).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(4)))
})
const Moves = Schema.Array(Schema.Struct({ leaf: few, amounts: Schema.Tuple([few, few]), back: Schema.Boolean })).pipe(Schema.check(Schema.isMaxLength(30)))

const limitsOf = (limits: ReadonlyArray<Limit>): ReadonlyMap<string, Limit> => new Map(limits.map((limit, at) => [dimensions[at]!, limit]))
const nodesOf = ({ cohorts, leaves, nested }: typeof Tree.Type): ReadonlyArray<QuotaNode> => [
  { name: "cohort/a", parent: nested ? "cohort/b" : undefined, weight: 1, limits: limitsOf(cohorts[0]) },
  { name: "cohort/b", parent: undefined, weight: 2, limits: limitsOf(cohorts[1]) },
  ...leaves.map(({ cohort, limits }, at) => ({ name: `workspace/${at}`, parent: [undefined, "cohort/a", "cohort/b"][cohort % 3], weight: 1, limits: limitsOf(limits) }))
]
const amounts = ([cpu, gpu]: readonly [number, number]): Amounts => new Map([["cpuMilli", cpu], ["gpuMilli", gpu]].filter(([, amount]) => amount !== 0) as Array<[string, number]>)

/** What a ledger says of every node. */
const shown = (ledger: QuotaLedger) => ledger.tree.names.flatMap((name) => dimensions.map((dimension) => [name, dimension, ledger.taken(name, dimension), ledger.available(name, dimension), ledger.held(name).get(dimension) ?? 0]))

/** Takes what there is room for, and gives some of it back; calls back after each move. */
const lived = (tree: QuotaTree, count: number, moves: typeof Moves.Type, seen: (ledger: QuotaLedger, held: ReadonlyMap<string, ReadonlyArray<Amounts>>) => void) => {
  const ledger = new QuotaLedger(tree)
  const held = new Map<string, Array<Amounts>>()
  for (const { amounts: asked, back, leaf } of moves) {
    const name = `workspace/${leaf % count}`
    const own = held.get(name) ?? []
    held.set(name, own)
    if (back && own.length > 0) ledger.giveBack(name, own.shift()!)
    else if (ledger.over(name, amounts(asked)) === undefined) {
      ledger.take(name, amounts(asked))
      own.push(amounts(asked))
    }
    seen(ledger, held)
  }
  return { ledger, held }
}

describe("a tree of quotas", () => {
  const quota = (nominal: number, more: Partial<Limit> = {}) => new Map([["gpuMilli", { nominal, ...more }]])
  const gpus = (amount: number): Amounts => new Map([["gpuMilli", amount]])
  const two = (a: Partial<Limit> = {}, b: Partial<Limit> = {}) => new QuotaTree([
    { name: "workspace/a", parent: "cohort/x", weight: 1, limits: quota(4, a) },
    { name: "workspace/b", parent: "cohort/x", weight: 1, limits: quota(6, b) }
  ])

  it("an idle neighbour's part can be borrowed, and is missing to it until it comes back", () => {
    const ledger = new QuotaLedger(two())
    assert.strictEqual(ledger.available("workspace/a", "gpuMilli"), 10)
    ledger.take("workspace/a", gpus(9))
    assert.strictEqual(ledger.borrowed("workspace/a", "gpuMilli"), 5)
    assert.strictEqual(ledger.available("workspace/b", "gpuMilli"), 1)
    assert.deepStrictEqual(ledger.borrowers("workspace/b", gpus(6)), ["workspace/a"])
    assert.deepInclude(ledger.over("workspace/b", gpus(2)), { needs: 2, available: 1, used: 0, nominal: 6 })
    ledger.giveBack("workspace/a", gpus(9))
    assert.strictEqual(ledger.available("workspace/b", "gpuMilli"), 10)
  })

  it("borrowing and lending end where their limits are", () => {
    assert.strictEqual(new QuotaLedger(two({ borrowingMax: 2 })).available("workspace/a", "gpuMilli"), 6)
    const ledger = new QuotaLedger(two({}, { lendingMax: 1 }))
    assert.strictEqual(ledger.available("workspace/a", "gpuMilli"), 5)
    ledger.take("workspace/a", gpus(5))
    assert.strictEqual(ledger.available("workspace/b", "gpuMilli"), 5)
  })

  it("what nobody limits is not limited, and who is in no tree takes what there is", () => {
    const ledger = new QuotaLedger(two())
    assert.isUndefined(ledger.over("workspace/a", new Map([["cpuMilli", 1e9]])))
    assert.isUndefined(ledger.over("workspace/other", gpus(1e9)))
  })

  it("a chain of cohorts that comes back to itself is cut", () => {
    const ring = new QuotaTree(["a", "b", "c"].map((name, at, all) => ({ name: `cohort/${name}`, parent: `cohort/${all[(at + 1) % 3]}`, weight: 1, limits: quota(1) })))
    assert.deepStrictEqual(ring.path("cohort/b"), ["cohort/b", "cohort/c", "cohort/a"])
    assert.strictEqual(new QuotaLedger(ring).available("cohort/b", "gpuMilli"), 3)
  })

  it.prop("what a pool has given is what its members have taken from it", [Tree, Moves], ([terms, moves]) => {
    const tree = new QuotaTree(nodesOf(terms))
    lived(tree, terms.leaves.length, moves, (ledger, held) => {
      for (const name of tree.names) {
        for (const dimension of dimensions) {
          const own = name.startsWith("workspace/") ? (held.get(name) ?? []).reduce((all, one) => all + (one.get(dimension) ?? 0), 0) : 0
          const below = tree.childrenOf(name).reduce((all, child) => all + Math.max(0, ledger.taken(child, dimension) - tree.kept(child, dimension)), 0)
          assert.strictEqual(ledger.taken(name, dimension), own + below, `${name} ${dimension}`)
        }
      }
    })
  }, runs)

  it.prop("nobody takes more than there is, nor beyond its borrowing, nor what another keeps", [Tree, Moves], ([terms, moves]) => {
    const tree = new QuotaTree(nodesOf(terms))
    lived(tree, terms.leaves.length, moves, (ledger) => {
      for (const name of tree.names) {
        for (const dimension of tree.limitedFor(name)) {
          const { borrowingMax, nominal } = tree.limitOf(name, dimension)
          if (tree.path(name).length === 1) assert.isAtMost(ledger.taken(name, dimension), tree.pool(name, dimension))
          if (borrowingMax !== undefined) assert.isAtMost(ledger.taken(name, dimension), tree.pool(name, dimension) + borrowingMax)
          if (tree.childrenOf(name).length === 0) assert.isAtLeast(ledger.available(name, dimension), Math.min(nominal, tree.kept(name, dimension)) - ledger.taken(name, dimension))
        }
      }
    })
  }, runs)

  it.prop("all that is taken depends on who holds what, not on the order of taking", [Tree, Moves], ([terms, moves]) => {
    const tree = new QuotaTree(nodesOf(terms))
    const { held, ledger } = lived(tree, terms.leaves.length, moves, () => undefined)
    const backwards = [...held].reverse().flatMap(([name, pieces]) => [...pieces].reverse().map((piece) => [name, piece] as const))
    assert.deepStrictEqual(shown(new QuotaLedger(tree, backwards)), shown(ledger))
    for (const [name, piece] of backwards) ledger.giveBack(name, piece)
    assert.deepStrictEqual(shown(ledger), shown(new QuotaLedger(tree)))
  }, runs)

  it.prop("the order in which nodes are described does not matter", [Tree], ([terms]) => {
    const nodes = nodesOf(terms)
    assert.deepStrictEqual(shown(new QuotaLedger(new QuotaTree([...nodes].reverse()))), shown(new QuotaLedger(new QuotaTree(nodes))))
  }, runs)
})
