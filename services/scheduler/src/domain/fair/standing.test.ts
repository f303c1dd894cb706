import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { priorityOf } from "./priority.ts"
import { guaranteedOf, mayDisplace, ownOrder, type Piece, type Rank } from "./standing.ts"
import { QuotaTree } from "./tree.ts"

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 7 })))
const World = Schema.Struct({
  /** What three workspaces have for certain, and how urgent they may call themselves to others. */
  quotas: Schema.Tuple([few, few, few]),
  caps: Schema.Tuple([few, few, few]),
  room: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 12 }))),
  pieces: Schema.Array(Schema.Struct({ workspace: few, own: few, size: few, members: few })).pipe(Schema.check(Schema.isMinLength(2), Schema.isMaxLength(9)))
})
const Picks = Schema.Array(few).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(30)))

const made = ({ caps, pieces, quotas }: typeof World.Type) => {
  const tree = new QuotaTree(quotas.map((nominal, at) => ({ name: `w${at}`, parent: "cohort/all", weight: 1, limits: nominal === 0 ? new Map() : new Map([["gpuMilli", { nominal }]]) })))
  const all = pieces.map(({ members, own, size, workspace }, number): Unit => Array.from({ length: Math.max(1, members - 4) }, (_, task) => ({
    ...priorityOf(own, { priorityMax: caps[workspace % 3]! }), workspace: `w${workspace % 3}`, number, task, amounts: new Map([["gpuMilli", 1 + size]])
  })))
  return { tree, all }
}
/** What begins and ends together: one piece, or all members of a gang. */
type Unit = ReadonlyArray<Piece>
const size = (unit: Unit): number => unit.reduce((sum, piece) => sum + piece.amounts.get("gpuMilli")!, 0)
/** Pieces that begin together stand where the lowest of them would. */
const lowest = (unit: Unit, rank: (piece: Piece) => Rank): Rank => ({ ...rank(unit[0]!), guaranteed: unit.every((piece) => rank(piece).guaranteed) })

/** How each of some pieces would stand, were they those that run. */
const ranksOf = (tree: QuotaTree, running: ReadonlySet<Piece>): ((piece: Piece) => Rank) => {
  const guaranteed = new Set(["w0", "w1", "w2"].flatMap((name) => [...guaranteedOf(tree, name, [...running].filter(({ workspace }) => workspace === name))]))
  return (piece) => ({ workspace: piece.workspace, own: piece.own, outer: piece.outer, guaranteed: guaranteed.has(piece) })
}

type Key = readonly [number, number, number, number, number]
const keyOf = ({ guaranteed, outer, own }: Rank, { number, task }: Piece): Key => [Number(guaranteed), outer, own, -number, -task]
const compareKeys = (left: Key, right: Key): number => left.map((part, at) => part - right[at]!).find((part) => part !== 0) ?? 0
/** The running pieces by the order of the proof, the first first. */
const listed = (tree: QuotaTree, running: ReadonlySet<Piece>): ReadonlyArray<Key> => {
  const rank = ranksOf(tree, running)
  return [...running].map((piece) => keyOf(rank(piece), piece)).sort((left, right) => compareKeys(right, left))
}
const greater = (left: ReadonlyArray<Key>, right: ReadonlyArray<Key>): boolean => {
  for (const [at, key] of left.entries()) {
    if (right[at] === undefined) return true
    const order = compareKeys(key, right[at]!)
    if (order !== 0) return order > 0
  }
  return false
}

describe("who gives way", () => {
  it.prop("nobody displaces its displacer, whatever else runs beside them", [World], ([world]) => {
    const { all, tree } = made(world)
    const pieces = all.flat()
    const rank = ranksOf(tree, new Set(pieces))
    for (const one of pieces) for (const other of pieces) assert.isFalse(mayDisplace(rank(one), rank(other)) && mayDisplace(rank(other), rank(one)))
  }, { arbitrary: { runs: 500 } })

  it.prop("every beginning makes the list of those that run greater, so displacing comes to rest, whoever is picked", [World, Picks], ([world, picks]) => {
    const { all, tree } = made(world)
    let running: ReadonlySet<Unit> = new Set()
    const pieces = (units: Iterable<Unit>): ReadonlySet<Piece> => new Set([...units].flat())
    const sizes = (units: ReadonlyArray<Unit>): number => units.reduce((sum, unit) => sum + size(unit), 0)
    let displaced = 0
    for (let step = 0; step < 10_000; step += 1) {
      const pick = picks[step % picks.length]!
      const before = ranksOf(tree, pieces(running))
      const free = world.room - sizes([...running])
      const moves = all.filter((unit) => !running.has(unit)).flatMap((unit) => {
        const rank = lowest(unit, ranksOf(tree, pieces([...running, unit])))
        // An adversary takes victims in any order; those that prove unnecessary are spared. Who gives way does so with all of its gang.
        const legal = [...running].filter((other) => other.every((piece) => mayDisplace(rank, before(piece))))
        const order = pick % 2 === 0 ? legal : legal.reverse()
        let gone: Array<Unit> = []
        for (const victim of order) if (free + sizes(gone) < size(unit)) gone.push(victim)
        for (const victim of [...gone]) if (free + sizes(gone) - size(victim) >= size(unit)) gone = gone.filter((one) => one !== victim)
        return free + sizes(gone) >= size(unit) ? [{ unit, gone }] : []
      })
      if (moves.length === 0) return
      const { gone, unit } = moves[pick % moves.length]!
      const then = new Set([...[...running].filter((one) => !gone.includes(one)), unit])
      assert.isTrue(greater(listed(tree, pieces(then)), listed(tree, pieces(running))), "a beginning that does not make the list greater")
      displaced += gone.length
      running = then
    }
    assert.fail(`${displaced} were displaced, and no end`)
  }, { arbitrary: { runs: 1_000 } })

  it("what lies within its quota is not touched from outside, and comes before what is borrowed, however urgent that is", () => {
    const tree = new QuotaTree([{ name: "a", parent: "cohort/x", weight: 1, limits: new Map([["gpuMilli", { nominal: 4 }]]) }, { name: "b", parent: "cohort/x", weight: 1, limits: new Map() }])
    const piece = (workspace: string, own: number, number: number): Piece => ({ workspace, own, outer: own, number, task: 0, amounts: new Map([["gpuMilli", 3]]) })
    const [first, second, urgent] = [piece("a", 50, 1), piece("a", 50, 2), piece("b", 95, 3)]
    assert.deepStrictEqual([...guaranteedOf(tree, "a", [second, first])], [first])
    const rank = (one: Piece, guaranteed: boolean): Rank => ({ ...one, guaranteed })
    assert.isTrue(mayDisplace(rank(first, true), rank(urgent, false)))
    assert.isFalse(mayDisplace(rank(urgent, false), rank(first, true)))
    assert.isTrue(mayDisplace(rank(urgent, false), rank(second, false)))
  })

  it("a workspace that says of itself that it is urgent is so to itself alone", () => {
    assert.deepStrictEqual(priorityOf(95, {}), { own: 95, outer: 50 })
    assert.deepStrictEqual(priorityOf(undefined, { priorityDefault: 20 }), { own: 20, outer: 20 })
    assert.isBelow(ownOrder({ own: 95, number: 9, task: 0 }, { own: 50, number: 1, task: 0 }), 0)
  })
})
