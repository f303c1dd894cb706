import { moneyText, picoOf, priceOf, ratesAt } from "@millrace/pricing"
import type { FactId, MillFact, PlacementMade } from "@millrace/schemas"
import { deriveId } from "@millrace/decider"
import { foreseen } from "@millrace/journal"
import { assert, describe, it } from "@effect/vitest"
import { account, acme, acmeAccount, ask, budgetAsked, Cell, exited, host, hostLost, job, limitAsked, openCell, phase, refused, retriedAsLost, settled, started, tookOver } from "../testing/cell.ts"

const dollars = (text: string): bigint => picoOf(text)!
const costOf = (cell: Cell, made: PlacementMade, ms: number): bigint => priceOf(ratesAt(cell.ledger.books, { workspace: acme, atMs: cell.atMs })!, made.spec.resources, ms)

/** Runs an attempt for so long, by its host's clock, and has the scheduler settle it. */
const run = (cell: Cell, made: PlacementMade, ms: number): void => {
  cell.hear(started(made, 5_000))
  cell.atMs += ms
  cell.hear(settled(made, cell.hear(exited(made, 5_000 + ms))))
}

const spends = (cell: Cell) => cell.said("SpendCommitted")

describe("a cell that opens", () => {
  it("has prices, an account for its workspace, and lends before anybody asks", () => {
    const cell = openCell(dollars("100"))
    assert.deepStrictEqual(cell.log.filter(({ place }) => place.stream === "METERING").flatMap(({ facts }) => facts.map(({ name }) => name)), ["MeteringTookOver", "PriceBookPublished", "BudgetOpened", "SliceLeased"])
    assert.deepStrictEqual(cell.said("BudgetOpened")[0]?.terms, { limitPico: dollars("100"), atLimit: "refuse_new" })
    assert.strictEqual(moneyText(cell.said("SliceLeased")[0]!.amountPico), "$50.00")
    assert.deepStrictEqual(cell.decide(), [])
  })
  it("decides nothing before somebody took over", () => {
    assert.deepStrictEqual(new Cell().decide(), [])
  })
})

describe("a host that lies", () => {
  it("moves no limit and no price, promises nothing, charges nobody, and lets nobody run for nothing", () => {
    const cell = openCell(dollars("100"))
    const made = cell.place("honest", "a")!
    const before = { books: cell.ledger.books.length, limit: cell.ledger.accounts.get(acmeAccount)!.limitPico, out: cell.ledger.index.slices.get(made.share!.slice)!.outPico }
    const lie = (event: MillFact) => {
      const sequence = (cell.saw["HOSTS"] ?? 0) + 1
      const id = deriveId<FactId>("fct", cell.atMs, "lie", sequence)
      cell.fold(foreseen({ subject: { kind: "attempt", scope: host("a") }, actor: "service:metering" as never, happenedAtMs: cell.atMs, facts: [{ id, partOf: id, event }] }, "HOSTS", sequence, 1))
    }
    const { priceBook, ...published } = cell.said("PriceBookPublished")[0]!
    lie({ ...published, priceBook: { ...priceBook, version: 2, prices: [] } })
    lie({ _tag: "LimitChanged", workspace: acme, account: acmeAccount, limitPico: dollars("1000000"), changedBy: "user:eve" as never, answers: ask("lie") })
    lie({ _tag: "SliceReturned", workspace: acme, account: acmeAccount, slice: made.share!.slice, amountPico: before.out, cause: "recalled" })
    const forged = "att_00000000000000000000000009" as PlacementMade["attemptId"]
    lie({ ...made, jobId: job("forged"), attemptId: forged })
    lie(hostLost(host("a"), cell.atMs))
    lie(retriedAsLost(made))
    assert.deepStrictEqual({ books: cell.ledger.books.length, limit: cell.ledger.accounts.get(acmeAccount)!.limitPico, out: cell.ledger.index.slices.get(made.share!.slice)!.outPico }, before)
    assert.isFalse(cell.ledger.attempts.has(forged))
    run(cell, made, 700)
    cell.decide()
    assert.deepStrictEqual(spends(cell).map(({ amountPico }) => amountPico), [costOf(cell, made, 700)])
  })
})

describe("a job that waits for money", () => {
  it("is wanted for until it is placed, and an array until the last of its tasks is", () => {
    const cell = openCell()
    const made = cell.place("other", "a")!
    const wanting = (jobId: PlacementMade["jobId"]) => {
      cell.hear({ _tag: "JobDeferred", jobId, workspace: acme, reason: "budget", arithmetic: "", unblockedBy: "budget", budget: { account: acmeAccount, needsPico: 7n } })
      return () => cell.ledger.wants.has(jobId)
    }
    const placed = (jobId: PlacementMade["jobId"], task?: number, attempt = 1) => {
      const { share: _, ...unpaid } = made
      const array = task === undefined ? {} : { array: { tasks: 3 } }
      cell.hear({ ...unpaid, jobId, attempt, ...(task === undefined ? {} : { task }), attemptId: `att_${String(cell.log.length).padStart(26, "0")}` as PlacementMade["attemptId"], spec: { ...unpaid.spec, ...array } })
    }
    const plain = wanting(job("p"))
    placed(job("p"))
    assert.isFalse(plain())
    const array = wanting(job("a"))
    for (const task of [0, 1]) placed(job("a"), task)
    assert.isTrue(array())
    placed(job("a"), 0, 2)
    assert.isTrue(array())
    placed(job("a"), 2)
    assert.isFalse(array())
  })
})

describe("an attempt", () => {
  it("costs its running time to the millisecond, once", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.atMs += 300
    run(cell, made, 1_234)
    cell.decide()
    cell.hear(exited(made, 99_999))
    assert.deepStrictEqual(cell.decide(), [])
    assert.deepStrictEqual(spends(cell).map(({ amountPico, attemptId }) => [attemptId, amountPico]), [[made.attemptId, costOf(cell, made, 1_234)]])
  })
  it("waits for the scheduler's verdict, whichever comes first", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.hear(started(made, 0))
    cell.atMs += 10
    const word = cell.hear(exited(made, 10))
    assert.deepStrictEqual(cell.decide(), [])
    cell.hear(settled(made, word))
    assert.strictEqual(cell.decide()[0]?._tag, "SpendCommitted")
  })
  it("costs at most what was promised for it", () => {
    const cell = openCell()
    const made = cell.place("j1", "a", { runMsMax: 1_000 })!
    run(cell, made, 5_000)
    cell.decide()
    assert.strictEqual(spends(cell)[0]?.amountPico, made.share?.amountPico)
  })
  it("costs nothing when its host refused it", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.hear(settled(made, cell.hear(refused(made)), "failed"))
    cell.decide()
    assert.deepStrictEqual(spends(cell).map(({ amountPico }) => amountPico), [0n])
  })
  it("costs what it ran when its host was lost after the scheduler had heard how it ended", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.hear(started(made, 0))
    const end = cell.hear(exited(made, 5_000))
    cell.atMs += 20_000
    cell.hear(hostLost(host("a"), cell.atMs))
    cell.decide()
    assert.deepStrictEqual(spends(cell), [])
    cell.hear(settled(made, end))
    cell.decide()
    assert.deepStrictEqual(spends(cell).map(({ amountPico, settledBy }) => [amountPico > 0n, settledBy]), [[true, end]])
  })
  it("costs nothing when its host was lost, whatever that host says later", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.hear(started(made, 0))
    cell.atMs += 20_000
    const lost = cell.hear(hostLost(host("a"), cell.atMs))
    cell.hear(retriedAsLost(made))
    cell.hear(exited(made, 25_000))
    cell.decide()
    assert.deepStrictEqual(spends(cell).map(({ amountPico, settledBy }) => [amountPico, settledBy]), [[0n, lost]])
    cell.schedulerReads()
    assert.isDefined(cell.place("j1", "b"))
  })
  it("is told in its job's story, as caused by the word that ended it", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    run(cell, made, 10)
    cell.decide()
    const fact = cell.log.flatMap(({ facts }) => facts).find(({ name }) => name === "SpendCommitted")!
    const placed = cell.log.flatMap(({ facts }) => facts).find(({ name }) => name === "PlacementMade")!
    const word = cell.log.flatMap(({ facts }) => facts).find(({ name }) => name === "AttemptExited")!
    assert.deepStrictEqual([fact.partOf, fact.causedBy], [placed.partOf, word.id])
  })
  it("of another host's word is not charged", () => {
    const cell = openCell()
    const made = cell.place("j1", "a")!
    cell.hear(settled(made, cell.hear(exited({ ...made, hostId: host("b") }, 10))))
    assert.deepStrictEqual(cell.decide(), [])
  })
})

describe("an account", () => {
  it("that is small is lent whole, and no job is placed beyond it", () => {
    const cell = openCell()
    cell.hear(budgetAsked("agent", dollars("0.05")))
    cell.decide()
    cell.schedulerReads()
    assert.deepStrictEqual(cell.said("SliceLeased").filter((slice) => slice.account === account("agent")).map(({ amountPico, availablePico }) => [amountPico, availablePico]), [[dollars("0.05"), 0n]])
    assert.isUndefined(cell.place("dear", "a", { from: account("agent"), runMsMax: 3_600_000, resources: { cpuMilli: 64_000, memoryMib: 0, diskMib: 0, gpus: 0 } }))
    cell.decide()
    assert.deepStrictEqual(cell.said("BudgetExhausted").map(({ account, limitPico }) => [account, limitPico]), [[account("agent"), dollars("0.05")]])
    assert.isDefined(cell.place("cheap", "a", { from: account("agent") }))
  })
  it("lends at once what a waiting job needs", () => {
    const cell = openCell(dollars("100"))
    const large = { runMsMax: 3_600_000, resources: { cpuMilli: 1_500_000, memoryMib: 0, diskMib: 0, gpus: 0 } }
    assert.isUndefined(cell.place("large", "a", large))
    // 70.74 of 100 dollars: the half that is lent and the half that is not are both too small.
    assert.deepStrictEqual(cell.decide().map(({ _tag }) => _tag), ["SliceRecalled"])
    cell.schedulerReads()
    assert.isUndefined(cell.place("large", "a", large))
    assert.deepStrictEqual(cell.decide().map(({ _tag }) => _tag), ["SliceReturned", "SliceLeased"])
    cell.schedulerReads()
    assert.isDefined(cell.place("large", "a", large))
  })
  it("below another never lends more than that one has", () => {
    const cell = openCell(dollars("2"))
    cell.hear(budgetAsked("one", dollars("2")))
    cell.hear(budgetAsked("two", dollars("2")))
    cell.decide()
    const lent = cell.said("SliceLeased").reduce((sum, { amountPico }) => sum + amountPico, 0n)
    assert.strictEqual(lent, dollars("2"))
    assert.isNotEmpty(cell.said("BudgetExhausted"))
  })
  it("calls back what it lent when its limit falls, and lends again when it rises", () => {
    const cell = openCell(dollars("100"))
    cell.hear(limitAsked("x1", acmeAccount, dollars("10")))
    assert.deepStrictEqual(cell.decide().map(({ _tag }) => _tag), ["LimitChanged", "SliceRecalled"])
    cell.schedulerReads()
    cell.place("small", "a")
    assert.include(cell.decide().map(({ _tag }) => _tag), "SliceReturned")
    cell.hear(limitAsked("x2", acmeAccount, dollars("40")))
    assert.deepStrictEqual(cell.decide().map(({ _tag }) => _tag), ["LimitChanged"])
    const held = [...cell.ledger.index.slices.values()].reduce((sum, { outPico }) => sum + outPico, 0n)
    assert.isTrue(held <= dollars("40"))
  })
  it("that closes by itself lends no more and calls back", () => {
    const cell = openCell()
    cell.hear(budgetAsked("short", dollars("3"), { closesAtMs: cell.atMs + 500 }))
    cell.decide()
    cell.atMs += 500
    assert.deepStrictEqual(cell.decide().map(({ _tag }) => _tag), ["SliceRecalled"])
    assert.deepStrictEqual(cell.decide(), [])
  })
})

describe("an ask", () => {
  const answersTo = (cell: Cell, id: string) => cell.log.flatMap(({ facts }) => facts.flatMap(({ event }) => event._tag === "Success" && "answers" in event.success && event.success.answers === ask(id) ? [event.success] : []))

  it("is answered once, with what was asked or with why not", () => {
    const cell = openCell(dollars("5"))
    for (const [event, wanted] of [
      [budgetAsked("a1", dollars("1")), "BudgetOpened"],
      [budgetAsked("a2", dollars("9")), "wider_than_parent"],
      [budgetAsked("a3", dollars("1"), { parent: account("nobody") }), "unknown"],
      [budgetAsked("a4", dollars("1"), { atLimit: "end" }), "invalid"],
      [budgetAsked("a5", -1n), "invalid"],
      [limitAsked("x1", account("nobody"), 1n), "unknown"],
      [limitAsked("x2", acmeAccount, dollars("5")), "AskFoundDone"]
    ] as const) {
      cell.hear(event)
      cell.decide()
      const answers = answersTo(cell, (event as { askId: string }).askId.slice(4).replace(/^0+/u, "").toLowerCase())
      assert.deepStrictEqual(answers.map((answer) => answer._tag === "AskRefused" ? answer.reason : answer._tag), [wanted])
    }
  })
  it("that was let through by a gateway which had read further waits until we have read as far", () => {
    const cell = openCell()
    cell.hear({ ...budgetAsked("a1", 1n), decision: { rule: "owner", view: { ACCESS: 2 } } } as never)
    assert.deepStrictEqual(cell.decide(), [])
    cell.hear({ _tag: "RoleBound", workspace: acme, principal: "user:ada", role: "owner", boundBy: "user:ada" } as never)
    assert.strictEqual(cell.decide()[0]?._tag, "BudgetOpened")
  })
  it("for a price book takes one that begins later, and no other", () => {
    const cell = openCell()
    const book = { ...cell.ledger.books[0]!, version: 2, effectiveFromMs: cell.atMs + 1_000 }
    const asked = (id: string, priceBook: typeof book) => ({ _tag: "PriceBookAsked", askId: ask(id), workspace: acme, askedBy: "user:ada", decision: { rule: "owner", view: {} }, priceBook }) as never
    cell.hear(asked("p1", book))
    cell.hear(asked("p2", { ...book, version: 3, effectiveFromMs: 1 }))
    cell.hear(asked("p3", { ...book, version: 1 }))
    cell.decide()
    assert.deepStrictEqual(["p1", "p2", "p3"].map((id) => answersTo(cell, id).map((answer) => answer._tag === "AskRefused" ? answer.reason : answer._tag)), [["PriceBookPublished"], ["invalid"], ["overtaken"]])
    const made = cell.place("j1", "a")!
    cell.hear(started(made, 0))
    cell.hear(phase(made, "stopping", 5))
    assert.strictEqual(cell.ledger.books.length, 2)
  })
  it("comes from settings only through the one who took over", () => {
    const cell = openCell(dollars("1"))
    cell.hear(tookOver(dollars("7"), 2))
    cell.hear({ _tag: "WorkspaceOpened", workspace: "other" as never, organisation: "other", owner: "user:ada" as never })
    cell.decide()
    assert.deepStrictEqual(cell.said("BudgetOpened").map(({ terms }) => moneyText(terms.limitPico)), ["$1.00", "$7.00"])
  })
})
