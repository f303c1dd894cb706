import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { InOrder } from "./in-order.ts"
import { guaranteedOf, type Piece } from "./standing.ts"
import { QuotaTree } from "./tree.ts"

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 9 })))
const One = Schema.Struct({ what: Schema.Literals(["asks", "asks", "enters", "ends"]), own: few, number: few, gpus: few, cores: few, members: few })
const World = Schema.Struct({ gpus: few, cores: few, running: Schema.Array(One).pipe(Schema.check(Schema.isMaxLength(20))), steps: Schema.Array(One).pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(12))) })

const piecesOf = ({ cores, gpus, members, number, own }: typeof One.Type, at: number): ReadonlyArray<Piece> =>
  Array.from({ length: 1 + (members % 3) }, (_, task) => ({ workspace: "w", own, outer: own, number: number * 100 + at, task, amounts: new Map([["gpuMilli", gpus], ["cpuMilli", cores], ["memoryMib", 7]]) }))

describe("pieces in their own order", () => {
  let carried = 0
  let not = 0

  it.prop("say what counting all of them anew says, whoever enters and ends between", [World], ([{ cores, gpus, running, steps }]) => {
    const tree = new QuotaTree([{ name: "w", parent: undefined, weight: 1, limits: new Map([["gpuMilli", { nominal: gpus * 20 }], ["cpuMilli", { nominal: cores * 30 }]]) }])
    // More than are noted at once: each several times over.
    let pieces: ReadonlyArray<Piece> = running.flatMap((one, at) => Array.from({ length: 8 }, (_, times) => piecesOf(one, at + times * 20)).flat())
    const inOrder = new InOrder(tree, "w", () => pieces)
    for (const [at, step] of steps.entries()) {
      const more = piecesOf(step, at)
      if (step.what === "enters") {
        for (const piece of more) inOrder.add(piece)
        pieces = [...pieces, ...more]
      } else if (step.what === "ends") {
        const stays = ({ number, task }: Piece): boolean => (number + task) % 10 !== step.number
        inOrder.keep(stays)
        pieces = pieces.filter(stays)
      } else {
        const anew = guaranteedOf(tree, "w", [...pieces, ...more])
        const all = more.every((piece) => anew.has(piece))
        assert.strictEqual(inOrder.wouldCarry(more), all)
        carried += Number(all)
        not += Number(!all)
      }
      if (step.own % 2 === 0) {
        const anew = guaranteedOf(tree, "w", pieces)
        for (const piece of pieces) assert.strictEqual(inOrder.isCarried(piece), anew.has(piece))
      }
    }
  }, { arbitrary: { runs: 500 } })

  it("of both kinds there were some", () => {
    assert.isAbove(carried, 50)
    assert.isAbove(not, 50)
  })

  it("costs a look at a few of them to ask of one more, however many run", () => {
    const tree = new QuotaTree([{ name: "w", parent: undefined, weight: 1, limits: new Map([["gpuMilli", { nominal: 50_000 }]]) }])
    let looks = 0
    const piece = (number: number): Piece => ({ workspace: "w", get own() { looks += 1; return 50 }, outer: 50, number, task: 0, amounts: new Map([["gpuMilli", 1]]) })
    const inOrder = new InOrder(tree, "w", () => Array.from({ length: 100_000 }, (_, number) => piece(number * 2)))
    assert.isTrue(inOrder.wouldCarry([piece(50_001)]))
    assert.isFalse(inOrder.wouldCarry([piece(150_001)]))
    looks = 0
    for (let number = 1; number < 200_000; number += 2_000) assert.strictEqual(inOrder.wouldCarry([piece(number)]), number < 100_000)
    assert.isBelow(looks, 100 * 100)
  })
})
