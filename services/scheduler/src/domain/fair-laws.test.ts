import { assert, describe, it } from "@effect/vitest"
import { foldCommit, type StoredCommit } from "@millrace/journal"
import { AskId, type MillFact, type PlacementMade, Principal, type QuotaTerms } from "@millrace/schemas"
import { Schema } from "effect"
import { admitted, Cell, exited, host, joined, left, needs, submitted, workspace } from "../testing/cell.ts"
import { QuotaLedger } from "./fair/tree.ts"
import { nodeOf, takenBy } from "./quotas.ts"
import { scheduler } from "./scheduler.ts"
import type { World } from "./world.ts"

const runs = { arbitrary: { runs: 40, size: 70 } }
const few = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 7 })))
const Step = Schema.Struct({ what: Schema.Literals(["submits", "submits", "submits", "submits", "submits", "gang", "ends", "fails", "yields", "yields", "leaves", "time", "time", "asks"]), which: few, much: few })
const Life = Schema.Struct({
  quotas: Schema.Array(Schema.Struct({ which: few, nominal: few, borrowing: few, lending: few, cohort: Schema.Boolean, priority: few })).pipe(Schema.check(Schema.isMaxLength(3))),
  steps: Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(25), Schema.isMaxLength(60)))
})

const workspaces = ["acme", "other", "third"]
const priorities = [undefined, 20, 50, 80, 95]
const sizes = { a: 4000, b: 3000, c: 3000 } as const
const here = (name: keyof typeof sizes): ReadonlyArray<MillFact> => {
  const said = joined(name, needs(sizes[name], 100_000)) as Extract<MillFact, { _tag: "HostJoined" }>
  return [admitted(name), { ...said, dialect: 3, capabilities: { ...said.capabilities, labels: { fabric: name === "c" ? "y" : "x" } } }]
}

let asks = 0
const quota = (node: string, terms: QuotaTerms): MillFact => ({
  _tag: "QuotaAsked", askId: AskId.make(`ask_${String(++asks).padStart(26, "0")}`), workspace: workspace("acme"), askedBy: Principal.make("user:ada"), decision: { rule: "role", view: {} }, node, terms
})

/** A cell in which nothing fits that could never run: every quota carries the largest piece, and every gang the hosts of a fabric. */
const live = ({ quotas, steps }: typeof Life.Type, seen: (cell: Cell, atMs: number) => void = () => undefined): { readonly cell: Cell; readonly atMs: number } => {
  const cell = new Cell()
  cell.hear(...here("a"), ...here("b"), ...here("c"))
  for (const { borrowing, cohort, lending, nominal, priority, which } of quotas) {
    cell.hear(quota(`workspace/${workspaces[which % 3]}`, {
      ...(cohort ? { parent: "cohort/all" } : {}), weight: 1 + (which % 2), priorityMax: priorities[1 + (priority % 4)]!,
      limits: [{ dimension: "cpuMilli", nominal: 4000 + nominal * 500, ...(borrowing > 3 ? { borrowingMax: borrowing * 500 } : {}), ...(lending > 3 ? { lendingMax: lending * 300 } : {}) }]
    }))
  }
  let atMs = 0
  let jobs = 0
  cell.rest(atMs)
  const oneOf = <T>(things: ReadonlyArray<T>, which: number): T | undefined => things[which % Math.max(1, things.length)]
  for (const { much, what, which } of steps) {
    const terms = { in: workspaces[which % 3]!, runMsMax: 1e9, attemptsMax: 3, resources: needs(500 + much * 300), ...(priorities[much % 5] === undefined ? {} : { priority: priorities[much % 5]! }) }
    switch (what) {
      case "submits":
        cell.hear(submitted(`j${jobs++}`, { ...terms, ...(which === 7 ? { array: { tasks: 1 + (much % 4) } } : {}) }))
        break
      case "gang":
        cell.hear(submitted(`g${jobs++}`, { ...terms, dialect: 3, resources: needs(1000), gang: { members: 2 + (much % 2), topology: much > 3 ? "fabric" : "anywhere", onLoss: which % 2 === 0 ? "restart" : "end" } }))
        break
      case "ends":
      case "fails":
        end(cell, oneOf(running(cell), which), what === "ends" ? 0 : 1)
        break
      case "yields":
        yieldOf(cell)
        break
      case "leaves":
        if (much === 0) cell.hear(left("c"))
        else if (much < 3) cell.hear(...here("c"))
        break
      case "asks": {
        const made = oneOf(cell.said("JobSubmitted"), which)
        if (made !== undefined) cell.hear({ ...(quota("workspace/acme", { limits: [] }) as Extract<MillFact, { _tag: "QuotaAsked" }>), _tag: "PriorityAsked", workspace: made.workspace, jobId: made.jobId, priority: much * 14 } as never)
        break
      }
      case "time":
        atMs += much * 30_000
        break
    }
    seen(cell, atMs)
    cell.rest(atMs)
  }
  seen(cell, atMs)
  return { cell, atMs }
}

const running = (cell: Cell): ReadonlyArray<PlacementMade> => {
  const over = new Set(cell.said("AttemptExited").map(({ attemptId }) => attemptId))
  return cell.said("PlacementMade").filter(({ attemptId }) => !over.has(attemptId))
}
const end = (cell: Cell, made: PlacementMade | undefined, code: number): void => void (made !== undefined && cell.hear(exited(made, { code })))
const isGang = (cell: Cell, id: string): boolean => cell.said("JobSubmitted").some(({ jobId, spec }) => jobId === id && spec.gang !== undefined)
/** Every host ends what it was told to end. */
const yieldOf = (cell: Cell): void => {
  const told = new Set(cell.said("PlacementWithdrawn").map(({ attemptId }) => attemptId))
  for (const made of running(cell)) if (told.has(made.attemptId)) cell.hear(exited(made, { cause: "withdrawn" }))
}

const folded = (commits: ReadonlyArray<StoredCommit>): World => commits.reduce((world, commit) => foldCommit(scheduler, world, commit), scheduler.initial())
const shown = ({ index: { capacity, ledger, pieces } }: World) => ({
  capacity: [...capacity].sort(),
  nodes: [...new Set([...ledger.tree.names, ...[...pieces.keys()].map(nodeOf)])].sort().map((name) => [name, [...ledger.held(name)].sort(), ledger.taken(name, "cpuMilli"), ledger.available(name, "cpuMilli")])
})

describe("whatever was asked for, by whomever", () => {
  let displaced = 0
  let displacedByGangs = 0
  let gangs = 0

  it.prop("what is counted against quotas is what runs, and deciding leaves it as it was", [Life], ([life]) => {
    live(life, (cell, atMs) => {
      const before = shown(cell.world)
      scheduler.decide(cell.world, cell.roundAt(atMs))
      assert.deepStrictEqual(shown(cell.world), before)
      const { tree } = cell.world.index.ledger
      const counted = new QuotaLedger(tree, [...cell.world.index.pieces.values()].flatMap((tasks) => [...tasks].map(({ current }) => [nodeOf(current!.workspace), takenBy(tree, current!)] as const)))
      for (const [workspace, tasks] of cell.world.index.pieces) {
        const runs = running(cell).filter((made) => made.workspace === workspace).map(({ attemptId }) => attemptId).sort()
        assert.deepStrictEqual([...tasks].map(({ current }) => current!.attemptId).sort(), runs)
      }
      for (const name of tree.names) assert.strictEqual(cell.world.index.ledger.taken(name, "cpuMilli"), counted.taken(name, "cpuMilli"))
    })
  }, runs)

  it.prop("nobody takes beyond its quota, nor beyond what others lend it", [Life], ([life]) => {
    live(life, ({ world: { index: { ledger } } }) => {
      for (const name of ledger.tree.names) {
        if (name.startsWith("workspace/") && ledger.tree.limitedFor(name).size > 0) assert.isAtLeast(ledger.available(name, "cpuMilli"), 0, name)
      }
    })
  }, runs)

  it.prop("a gang is placed whole, on what it must share, in neighbouring commits, or not at all", [Life], ([life]) => {
    const { cell } = live(life)
    const byAttempt = new Map<string, Array<{ readonly made: PlacementMade; readonly sequence: number }>>()
    for (const commit of cell.log) {
      for (const { event } of commit.facts) {
        if (event._tag === "Failure" || event.success._tag !== "PlacementMade" || event.success.spec.gang === undefined) continue
        const made = event.success
        const key = `${made.jobId} ${made.attempt}`
        byAttempt.set(key, [...byAttempt.get(key) ?? [], { made, sequence: commit.place.sequence }])
      }
    }
    for (const [key, members] of byAttempt) {
      gangs += 1
      const { gang } = members[0]!.made.spec
      assert.deepStrictEqual(members.map(({ made }) => made.gang!.rank).sort(), Array.from({ length: gang!.members }, (_, rank) => rank), key)
      const sequences = members.map(({ sequence }) => sequence)
      assert.isBelow(Math.max(...sequences) - Math.min(...sequences), gang!.members)
      if (gang!.topology === "fabric") assert.strictEqual(new Set(members.map(({ made }) => (made.hostId === host("c") ? "y" : "x"))).size, 1)
    }
  }, runs)

  it.prop("while nothing new comes and nothing ends by itself, displacing comes to rest", [Life], ([life]) => {
    const { atMs: from, cell } = live(life)
    const told = () => cell.said("PlacementWithdrawn").filter(({ cause }) => cause === "preempted").length
    let quiet = 0
    let atMs = from
    for (let look = 0; quiet < 3; look += 1) {
      assert.isBelow(look, 200, "work displaces work without end")
      const before = told()
      atMs += 61_000
      cell.rest(atMs)
      yieldOf(cell)
      cell.rest(atMs)
      quiet = told() === before ? quiet + 1 : 0
    }
    displaced += told()
    displacedByGangs += cell.said("PlacementWithdrawn").filter(({ by }) => by !== undefined && isGang(cell, by.jobId)).length
  }, runs)

  it.prop("nobody gives way to a gang for nothing, and of a gang that gives way nobody stays", [Life], ([life]) => {
    const { cell } = live(life)
    const gaveWay = cell.said("PlacementWithdrawn").filter(({ cause }) => cause === "preempted")
    for (const { by } of gaveWay) {
      if (by === undefined || !isGang(cell, by.jobId)) continue
      assert.isTrue(cell.said("JobDeferred").some(({ heldOn = [], jobId }) => jobId === by.jobId && heldOn.length > 0), "who gives way to it is told before it holds a host")
    }
    for (const { attempt, jobId } of gaveWay.filter(({ jobId }) => isGang(cell, jobId))) {
      const whole = cell.said("PlacementMade").filter((made) => made.jobId === jobId && made.attempt === attempt)
      const ended = new Set([...cell.said("PlacementWithdrawn"), ...cell.said("AttemptExited")].map(({ attemptId }) => attemptId))
      for (const { attemptId } of whole) assert.isTrue(ended.has(attemptId), `${attemptId} runs on without its gang`)
    }
  }, runs)

  it.prop("whatever fits an empty cluster is placed in the end", [Life], ([life]) => {
    const { atMs: from, cell } = live(life)
    cell.hear(...here("c"))
    let atMs = from
    for (let look = 0; cell.world.jobs.size > 0; look += 1) {
      assert.isBelow(look, 400, `${[...cell.world.jobs.values()].map(({ id, told }) => `${id} ${told?.reason}`).join(", ")} wait for ever`)
      atMs += 61_000
      cell.rest(atMs)
      yieldOf(cell)
      const [oldest] = running(cell)
      end(cell, oldest, 0)
      cell.rest(atMs)
    }
  }, runs)

  it.prop("what was saved and loaded, and what was folded anew, decide the same at every round", [Life], ([life]) => {
    live(life, (cell, atMs) => {
      const saved = scheduler.save(cell.world)
      const again = scheduler.load(structuredClone(saved) as never)
      assert.deepStrictEqual(scheduler.save(again), saved)
      assert.deepStrictEqual(shown(again), shown(cell.world))
      for (const at of [atMs, atMs + 61_000, atMs + 10_000_000]) {
        assert.deepStrictEqual(scheduler.decide(again, cell.roundAt(at)), scheduler.decide(cell.world, cell.roundAt(at)))
        assert.strictEqual(scheduler.dueAtMs?.(again), scheduler.dueAtMs?.(cell.world))
      }
    })
    const { cell } = live(life)
    assert.deepStrictEqual(scheduler.save(folded(cell.log)), scheduler.save(cell.world))
  }, { arbitrary: { runs: 12, size: 70 } })

  it.prop("the scheduler wakes when time has something to say, and not before", [Life], ([life]) => {
    live(life, (cell, atMs) => {
      cell.rest(atMs)
      const due = scheduler.dueAtMs?.(cell.world)
      if (due === undefined) return
      assert.isAbove(due, atMs)
      assert.deepStrictEqual(scheduler.decide(cell.world, cell.roundAt(due - 1)), [])
      assert.isNotEmpty(scheduler.decide(cell.world, cell.roundAt(due)))
    })
  }, runs)

  it("and those histories were worth the name", () => {
    assert.isAbove(displaced, 10)
    assert.isAbove(displacedByGangs, 3)
    assert.isAbove(gangs, 20)
  })
})
