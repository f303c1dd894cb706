import { assert, describe, it } from "@effect/vitest"
import { AskId, type HostJoined, type MillFact, type PlacementMade, Principal, type QuotaTerms } from "@millrace/schemas"
import { Schema } from "effect"
import { admitted, Cell, exited, given, host, job, joined, left, needs, submitted, workspace } from "../testing/cell.ts"
import { agent, budget, cost, grant, issued, lent, opened, priced } from "../testing/means.ts"
import type { Looking } from "./place.ts"

const models = { h100: { model: "NVIDIA H100 80GB HBM3", memoryMib: 81_559 }, a100: { model: "NVIDIA A100-SXM4-80GB", memoryMib: 81_920 } }
const here = (name: string, cores = 4, gpus = 0, model: keyof typeof models = "h100"): ReadonlyArray<MillFact> => {
  const said = joined(name, { ...needs(cores * 1000, 100_000), gpus }) as HostJoined
  const labels = { fabric: name < "hb" ? "x" : "y" }
  return [admitted(name), { ...said, dialect: 3, capabilities: { ...said.capabilities, gpus: Array.from({ length: gpus }, (_, index) => ({ ...models[model], index })), labels } }]
}
let asks = 0
const quota = (node: string, terms: QuotaTerms): MillFact =>
  ({ _tag: "QuotaAsked", askId: AskId.make(`ask_${String(++asks).padStart(26, "0")}`), workspace: workspace("acme"), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} }, node, terms })
const urgent = (name: string, where: string, priority: number): MillFact =>
  ({ _tag: "PriorityAsked", askId: AskId.make(`ask_${String(++asks).padStart(26, "0")}`), workspace: workspace(where), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} }, jobId: job(name), priority })

const running = (cell: Cell): ReadonlyArray<PlacementMade> => {
  const over = new Set(cell.said("AttemptExited").map(({ attemptId }) => attemptId))
  return cell.said("PlacementMade").filter(({ attemptId }) => !over.has(attemptId))
}

/** How many lines are looked at until nothing more is said. */
const looksOf = (cell: Cell, atMs: number): number => {
  const { standstill } = cell.world.index
  const before = standstill.looks
  cell.rest(atMs)
  return standstill.looks - before
}

describe("work that waits", () => {
  it("is looked at when a host has room for it, and only then, however much of it waits", () => {
    const cell = given(...here("ha"), ...here("hb"), ...here("hc"))
    for (const name of ["r1", "r2", "r3", "r4", "r5", "r6"]) cell.hear(submitted(name, { resources: needs(2000) }))
    cell.rest(0)
    // No two of them want the same, and none but the last few fit where half a host is free.
    for (let at = 0; at < 20_000; at += 1) cell.hear(submitted(`w${at}`, { resources: needs(at < 19_990 ? 2001 + (at % 1_500) : 1_500, 100 + at) }))
    cell.rest(1)
    cell.rest(2)
    assert.strictEqual(cell.world.index.waiting.size, 20_000)
    assert.strictEqual(looksOf(cell, 3), 0)
    cell.hear(submitted("x1", { resources: needs(3_999) }))
    assert.isBelow(looksOf(cell, 4), 4)
    cell.hear(exited(cell.placed("r1")))
    assert.isBelow(looksOf(cell, 5), 16)
    assert.strictEqual(cell.said("PlacementMade").at(-1)?.jobId, job("w19990"))
    // A whole new host fits every one of them: those that came first have it, and of the others none is looked at in vain.
    cell.hear(...here("hd"))
    assert.isBelow(looksOf(cell, 6), 40)
    assert.strictEqual(cell.said("PlacementMade").at(-2)?.jobId, job("w0"))
  }, 60_000)

  it("for a quota is looked at when there is enough of that, whatever room there is", () => {
    const cell = given(...here("ha", 32), quota("workspace/other", { limits: [{ dimension: "cpuMilli", nominal: 2000, borrowingMax: 0 }] }))
    cell.rest(0)
    cell.hear(submitted("q1", { in: "other" }), submitted("q2", { in: "other" }))
    for (let at = 0; at < 100; at += 1) cell.hear(submitted(`a${at}`, { in: "other", resources: needs(1000 + at) }))
    cell.rest(1)
    assert.strictEqual(looksOf(cell, 3), 0)
    cell.hear(...here("hb", 32))
    assert.strictEqual(looksOf(cell, 4), 0)
    cell.hear(exited(cell.placed("q1")))
    // All but the first want more than is left, and the first has it.
    assert.isBelow(looksOf(cell, 5), 6)
    assert.strictEqual(cell.said("PlacementMade").at(-1)?.jobId, job("a0"))
  })

  it("for money or for its grant's turn is looked at when there is enough of that", () => {
    const cell = given(...here("ha", 32), ...opened, priced, budget, lent("s", 60_000n), issued("g", { concurrencyMax: 1 }))
    const granted = { by: agent, grant: grant("g") }
    cell.hear(submitted("g1", granted)).rest(0)
    for (let at = 0; at < 100; at += 1) cell.hear(submitted(`a${at}`, { ...granted, resources: needs(1000 + at) }))
    cell.rest(1)
    assert.deepStrictEqual([...new Set(cell.said("JobDeferred").map(({ reason }) => reason))], ["budget"])
    assert.strictEqual(looksOf(cell, 2), 0)
    cell.hear(...here("hb", 32))
    assert.strictEqual(looksOf(cell, 3), 0)
    // Enough for the first ten of them, who are told that another thing is short now.
    cell.hear(lent("t", 60_600n))
    assert.isBelow(looksOf(cell, 4), 50)
    assert.strictEqual(cell.said("JobDeferred").filter(({ reason }) => reason === "quota").length, 11)
    cell.hear(exited(cell.placed("g1")))
    cell.rest(5)
    assert.strictEqual(cell.said("PlacementMade").at(-1)?.jobId, job("a0"))
  })

  it("and could have others give way is looked at when anything has happened that could let it", () => {
    const cell = given(...here("ha"), ...here("hb"), submitted("r1", { resources: needs(4000), priority: 20 }), submitted("r2", { resources: needs(4000), priority: 95 }))
    cell.rest(0)
    for (let at = 0; at < 100; at += 1) cell.hear(submitted(`a${at}`, { resources: needs(3000 + at), priority: 90 }))
    cell.rest(1)
    cell.rest(2)
    assert.strictEqual(looksOf(cell, 3), 0)
    cell.rest(61_000)
    assert.lengthOf(cell.said("PlacementWithdrawn"), 1)
  })

  it("is looked at once it could have others give way, because those are less urgent now", () => {
    const cell = given(...here("ha"), submitted("r1", { resources: needs(4000) }))
    cell.rest(0)
    cell.hear(submitted("a1", { resources: needs(3000) })).rest(100_000)
    assert.strictEqual(looksOf(cell, 100_001), 0)
    cell.hear(urgent("r1", "acme", 10)).rest(110_000)
    assert.lengthOf(cell.said("PlacementWithdrawn"), 1)
  })
})

const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 7 })))
const Step = Schema.Struct({
  what: Schema.Literals(["submits", "submits", "submits", "gpus", "gpus", "granted", "gang", "ends", "ends", "ends", "yields", "leaves", "joins", "time", "quota", "urgent", "lends", "suspects"]), which: few, much: few
})
const Life = Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(30), Schema.isMaxLength(70)))

const workspaces = ["acme", "other", "third"]

/** What the world says next, by what was placed so far. */
const nextOf = (cell: Cell, { much, what, which }: typeof Step.Type, number: number): ReadonlyArray<MillFact> => {
  const oneOf = <T>(things: ReadonlyArray<T>): ReadonlyArray<T> => (things.length === 0 ? [] : [things[which % things.length]!])
  const terms = { in: workspaces[which % 3]!, runMsMax: 1e9, attemptsMax: 2, ...(much === 7 ? { priority: 80 } : much === 6 ? { priority: 20 } : {}) }
  switch (what) {
    case "submits":
      return [submitted(`j${number}`, { ...terms, resources: needs(500 + much * 400), ...(which === 7 ? { array: { tasks: 2 + much } } : {}) })]
    case "gpus":
      return [submitted(`j${number}`, {
        ...terms, dialect: 3, resources: { ...needs(500), gpus: much < 4 ? 1 + (much % 2) : 0, ...(much < 4 ? {} : { gpuMilli: 400 }) },
        ...(which < 3 ? { gpu: [{ model: "H100" }, { model: "A100" }] } : which < 5 ? { gpu: [{ model: "A100" }] } : {})
      })]
    case "granted":
      return [submitted(`j${number}`, { ...terms, in: "acme", by: agent, grant: grant(which % 2 === 0 ? "g" : "h"), runMsMax: 60_000, resources: { ...needs(500 + much * 200), gpus: much % 2 }, dialect: 3 })]
    case "gang":
      return [submitted(`j${number}`, { ...terms, dialect: 3, resources: { ...needs(800), gpus: much % 2 }, gang: { members: 2 + (which % 2), topology: much > 3 ? "fabric" : "anywhere", onLoss: "restart" } })]
    case "ends":
      return oneOf(running(cell)).flatMap((made) => [exited(made, { code: much === 0 ? 1 : 0 }), ...(made.share === undefined ? [] : [cost(made, made.share.amountPico / 2n)])])
    case "yields": {
      const told = new Set(cell.said("PlacementWithdrawn").map(({ attemptId }) => attemptId))
      return running(cell).filter(({ attemptId }) => told.has(attemptId)).map((made) => exited(made, { cause: "withdrawn" }))
    }
    case "leaves":
      return much < 2 ? [left(which < 4 ? "ha" : "hc")] : []
    case "joins":
      return which < 4 ? here("ha", 4, 2) : here("hc", 4, 2, "a100")
    case "quota":
      return [quota(`workspace/${workspaces[which % 3]!}`, {
        ...(much > 4 ? { parent: "cohort/all" } : {}),
        limits: [which < 4 ? { dimension: "cpuMilli", nominal: much * 1000, ...(much % 2 === 0 ? { borrowingMax: 1000 } : {}) } : { dimension: "gpuMilli/H100", nominal: (much % 3) * 1000, borrowingMax: 0 }]
      })]
    case "urgent":
      return oneOf(cell.said("JobSubmitted")).map(({ jobId, workspace: where }) => urgent(jobId.slice(4), where, much * 14))
    case "lends":
      return [lent(`s${number}`, BigInt(much) * 40_000n)]
    case "suspects":
      return [{ _tag: much < 4 ? "GpuSuspected" : "GpuCleared", hostId: host(which < 4 ? "ha" : "hc"), gpu: which % 2, ...(much < 4 ? { symptom: "ecc" } : {}) } as never]
    case "time":
      return []
  }
}

const began = [...here("ha", 4, 2), ...here("hb", 3), ...here("hc", 4, 2, "a100"), ...opened, issued("g", { concurrencyMax: 2, gpusMax: 1 }), issued("h", { spendPicoMax: 400_000n, usesMax: 5 })]

const live = (looking: Looking, steps: typeof Life.Type, paid: boolean, seen: (cell: Cell, at: number) => void = () => undefined): Cell => {
  const cell = new Cell(looking)
  cell.hear(...began, ...(paid ? [priced, budget, lent("s", 300_000n)] : []))
  let atMs = 0
  cell.rest(atMs)
  for (const [at, step] of steps.entries()) {
    if (step.what === "time") atMs += step.much * 60_000
    asks = at * 10
    cell.hear(...nextOf(cell, step, at))
    cell.rest(atMs)
    seen(cell, at)
  }
  return cell
}

const happened = (cell: Cell) => [
  ...cell.said("PlacementMade").map(({ attempt, gpus, hostId, jobId, task }) => [jobId, task, attempt, hostId, gpus]),
  ...cell.said("PlacementWithdrawn").map(({ attemptId, cause }) => [attemptId, cause]),
  ...[...cell.said("JobSettled"), ...cell.said("JobRefused")].map(({ _tag, jobId }) => [_tag, jobId])
]

describe("whatever happens", () => {
  let placed = 0
  let passedOver = 0

  it.prop("the same is placed, in the same order, as if each line were looked at in each round", [Life, Schema.Boolean], ([steps, paid]) => {
    const all: Array<unknown> = []
    const every = live("every", steps, paid, (cell) => all.push(happened(cell)))
    const few = live("few", steps, paid, (cell, at) => assert.deepStrictEqual(happened(cell), all[at], `after step ${at}`))
    placed += few.said("PlacementMade").length
    passedOver += every.world.index.standstill.looks - few.world.index.standstill.looks
  }, { arbitrary: { runs: 50, size: 90 } })

  it("and those histories were worth the name", () => {
    assert.isAbove(placed, 400)
    assert.isAbove(passedOver, 400)
  })
})
