import { foldCommit, hashOf, readable, type StoredCommit } from "@millrace/journal"
import type { AccountId, FactId, PlacementMade } from "@millrace/schemas"
import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import { account, acmeAccount, budgetAsked, Cell, exited, host, hostLost, limitAsked, openCell, phase, refused, retriedAsLost, settled, started } from "../testing/cell.ts"
import { markOf } from "./evolve.ts"
import { emptyLedger, freeOf, type Ledger, lineOf } from "./ledger.ts"
import { metering } from "./metering.ts"
import { spendOf } from "./timeline.ts"
import { rowsOf } from "./usage.ts"

const dollar = 1_000_000_000_000n

const step = fc.record({
  what: fc.constantFrom(
    "places", "places", "places", "places", "starts", "starts", "enters", "exits", "exits", "exits", "refuses", "loses", "settles", "settles", "settles",
    "late", "decides", "decides", "decides", "reads", "reads", "opens", "limits", "waits"
  ),
  which: fc.nat(7),
  much: fc.nat(7)
})
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never
const life = fc.array(step, { minLength: 20, maxLength: 150 })
const holds = <Ts extends [unknown, ...Array<unknown>]>(property: fc.IPropertyWithHooks<Ts>, numRuns = 150) => fc.assert(property, { numRuns })

interface Running {
  readonly made: PlacementMade
  word?: FactId
  isLost?: true
  isSettled?: true
}

/** A history as it may really be: hosts say what they like of what was placed, the scheduler judges each attempt once. */
const live = (steps: ReadonlyArray<Step>, seen: (cell: Cell) => void = () => undefined): Cell => {
  const cell = openCell(3n * dollar)
  const attempts: Array<Running> = []
  const one = (which: number, fits: (running: Running) => boolean) => {
    const chosen = attempts.filter(fits)
    return chosen[which % Math.max(1, chosen.length)]
  }
  const accounts: ReadonlyArray<AccountId> = [acmeAccount, account("a1"), account("a2")]
  let asks = 0
  for (const { much, what, which } of steps) {
    switch (what) {
      case "places": {
        const made = cell.place(`j${which}${attempts.length}`, "abc"[much % 3]!, {
          from: accounts[which % 3]!,
          runMsMax: 1_000 * 10 ** (much % 5),
          resources: { cpuMilli: 1_000 + 9_000 * (which % 2), memoryMib: 100 * much, diskMib: 0, gpus: which % 5 === 0 ? 1 : 0 }
        })
        if (made !== undefined) attempts.push({ made })
        break
      }
      case "starts": {
        const running = one(which, ({ word }) => word === undefined)
        if (running !== undefined) cell.hear(started(running.made, cell.atMs % 100_000))
        break
      }
      case "enters": {
        const running = one(which, ({ word }) => word === undefined)
        if (running !== undefined) cell.hear(phase(running.made, (["preparing", "paused", "running", "stopping"] as const)[much % 4]!, cell.atMs % 100_000 + much, much === 7 ? "again" : "boot"))
        break
      }
      case "exits":
      case "refuses": {
        const running = one(which, ({ word }) => word === undefined)
        if (running !== undefined) running.word = cell.hear(what === "exits" ? exited(running.made, (cell.atMs % 100_000) + much * 100, much === 6 ? "again" : "boot") : refused(running.made))
        break
      }
      case "loses": {
        const hostId = host("abc"[much % 3]!)
        cell.hear(hostLost(hostId, cell.atMs))
        for (const running of attempts) {
          if (running.made.hostId !== hostId || running.isSettled === true || running.isLost === true) continue
          running.isLost = true
          cell.hear(retriedAsLost(running.made))
        }
        break
      }
      case "settles": {
        const running = one(which, ({ isLost, isSettled, word }) => word !== undefined && isSettled !== true && isLost !== true)
        if (running !== undefined) {
          running.isSettled = true
          cell.hear(settled(running.made, running.word!))
        }
        break
      }
      case "late": {
        const running = one(which, ({ word }) => word !== undefined)
        if (running !== undefined) cell.hear(exited(running.made, 999_999))
        break
      }
      case "opens":
        cell.hear(budgetAsked(`a${1 + (which % 2)}`, BigInt(much) * dollar / 2n))
        break
      case "limits":
        cell.hear(limitAsked(`x${asks += 1}`, accounts[which % 3]!, BigInt(much) * dollar))
        break
      case "reads":
        cell.schedulerReads()
        break
      case "waits":
        cell.atMs += 10 ** (much % 5)
        break
      case "decides":
        seen(cell)
        cell.decide()
        break
    }
  }
  seen(cell)
  cell.decide()
  return cell
}

/** What an account says of itself, from the facts alone. */
const sums = (cell: Cell, of: AccountId) => {
  const sum = (amounts: ReadonlyArray<{ readonly account: AccountId; readonly amountPico: bigint }>) => amounts.filter((one) => one.account === of).reduce((total, { amountPico }) => total + amountPico, 0n)
  return { leased: sum(cell.said("SliceLeased")), returned: sum(cell.said("SliceReturned")), committed: sum(cell.said("SpendCommitted")) }
}

describe("money, over whatever may happen", () => {
  it("is committed once an attempt, never beyond its share, and nothing for one that was lost", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      const spends = cell.said("SpendCommitted")
      assert.strictEqual(new Set(spends.map(({ attemptId }) => attemptId)).size, spends.length)
      const shares = new Map(cell.said("PlacementMade").map(({ attemptId, share }) => [attemptId, share!.amountPico]))
      const lost = new Set(cell.said("JobRetried").filter(({ lost }) => lost === true).map(({ failedAttempt, jobId }) => `${jobId} ${failedAttempt}`))
      for (const { amountPico, attempt, attemptId, jobId } of spends) {
        assert.isTrue(amountPico >= 0n && amountPico <= shares.get(attemptId)!)
        if (lost.has(`${jobId} ${attempt}`)) assert.strictEqual(amountPico, 0n)
      }
    }))
  })
  it("is charged for every attempt that was judged, in the same round", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      const charged = new Set(cell.said("SpendCommitted").map(({ attemptId }) => attemptId))
      for (const { attemptId } of cell.said("JobSettled")) assert.isTrue(charged.has(attemptId!))
      assert.strictEqual(cell.ledger.index.due.size, 0)
    }))
  })
  it("is the sum of the attempt's usage rows, however a reader cuts them, and they cover its time without a gap", () => {
    holds(fc.property(life, fc.array(fc.nat(2_000_000), { maxLength: 5 }), (steps, cutsAtMs) => {
      const cell = live(steps)
      const told = cell.log.flatMap((commit) => readable(commit).facts)
      for (const { amountPico, attemptId, settledBy } of cell.said("SpendCommitted")) {
        const placed = told.find(({ event }) => event._tag === "PlacementMade" && event.attemptId === attemptId)!
        const made = placed.event as PlacementMade
        const marks = told.filter(({ commit, event }) => commit.subject.scope === made.hostId && "attemptId" in event && event.attemptId === attemptId).flatMap(({ commit, event, id }) => markOf(event, id, commit.place.storedAtMs) ?? [])
        const settling = told.find(({ id }) => id === settledBy)!
        const lostAtMs = settling.event._tag === "HostDeclaredLost" ? settling.event.leaseEndedAtMs : settling.commit.place.storedAtMs
        const rows = rowsOf({ workspace: made.workspace, placedAtMs: placed.commit.place.storedAtMs, resources: made.spec.resources, marks, sharePico: made.share!.amountPico, spent: { settledBy, lostAtMs }, books: cell.ledger.books }, cutsAtMs)
        assert.strictEqual(spendOf(rows), amountPico)
        let next = placed.commit.place.storedAtMs
        for (const { fromMs, ms } of rows) {
          assert.strictEqual(fromMs, next)
          next += ms
        }
      }
    }))
  })
  it("is conserved in each account to the pico: leased is returned, committed or out", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      for (const one of cell.ledger.accounts.values()) {
        const { committed, leased, returned } = sums(cell, one.id)
        const out = [...one.slices.values()].reduce((total, { outPico }) => total + outPico, 0n)
        assert.strictEqual(leased, returned + committed + out)
        const below = [...cell.ledger.accounts.values()].filter((other) => lineOf(cell.ledger, other.id).includes(one))
        assert.strictEqual(one.usedPico, below.reduce((total, other) => total + sums(cell, other.id).leased - sums(cell, other.id).returned, 0n))
      }
    }))
  })
  it("is lent within every limit that held then, the account's and those above it", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      const ledger = emptyLedger()
      let check = ledger
      for (const commit of cell.log) {
        check = foldCommit(metering, check, commit)
        for (const { name, event } of commit.facts) {
          if (name !== "SliceLeased" || event._tag !== "Success") continue
          for (const one of lineOf(check, (event.success as { account: AccountId }).account)) assert.isTrue(one.usedPico <= one.limitPico)
        }
      }
    }))
  })
  it("that is promised to attempts is never taken back", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      for (const slice of cell.ledger.index.slices.values()) assert.isTrue(slice.outPico >= (cell.ledger.index.promised.get(slice.id) ?? 0n))
    }))
  })
  it("that a waiting job needs is lent as soon as the account has it", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      for (let turn = 0; turn < 4; turn += 1) {
        cell.schedulerReads()
        cell.hear({ _tag: "DemandChanged", classes: [] })
        cell.decide()
      }
      for (const { account, needsPico } of cell.ledger.wants.values()) {
        const one = cell.ledger.accounts.get(account)
        if (one === undefined || [...cell.ledger.wants.values()].some((other) => other.account !== account)) continue
        const left = lineOf(cell.ledger, account).map(({ limitPico, usedPico }) => limitPico - usedPico).reduce((least, each) => each < least ? each : least)
        const largest = [...one.slices.values()].filter(({ recalledAt }) => recalledAt === undefined).map((slice) => freeOf(cell.ledger, slice)).reduce((most, each) => each > most ? each : most, 0n)
        assert.isTrue(largest >= needsPico || left < needsPico, `${needsPico} of ${left} left, ${largest} free`)
      }
    }))
  })
})

describe("the fold", () => {
  const folded = (commits: ReadonlyArray<StoredCommit>): Ledger => commits.reduce((ledger, commit) => foldCommit(metering, ledger, commit), emptyLedger())
  const hash = (ledger: Ledger) => hashOf(metering.save(ledger))

  it("comes to the same in whatever order the streams come", () => {
    holds(fc.property(life, fc.array(fc.nat(3), { minLength: 1, maxLength: 40 }), (steps, picks) => {
      const cell = live(steps)
      const queues = ["METERING", "SCHEDULER", "HOSTS", "GATEWAY", "ACCESS"].map((stream) => cell.log.filter(({ place }) => place.stream === stream))
      const shuffled: Array<StoredCommit> = []
      for (let turn = 0; queues.some((queue) => queue.length > 0); turn += 1) {
        const rest = queues.filter((queue) => queue.length > 0)
        shuffled.push(...rest[picks[turn % picks.length]! % rest.length]!.splice(0, 1 + (turn % 3)))
      }
      assert.strictEqual(hash(folded(shuffled)), hash(cell.ledger))
    }))
  })
  it("comes to the same when every fact is told twice", () => {
    holds(fc.property(life, (steps) => {
      const cell = live(steps)
      assert.strictEqual(hash(folded(cell.log.flatMap((commit) => [commit, commit]))), hash(cell.ledger))
    }))
  })
  it("decides the same when it was saved and loaded, and deciding changes nothing", () => {
    holds(fc.property(life, (steps) => {
      live(steps, (cell) => {
        const before = hash(cell.ledger)
        const said = metering.decide(cell.ledger, cell.round())
        const loaded = metering.load(JSON.parse(JSON.stringify(metering.save(cell.ledger))) as never)
        assert.strictEqual(hash(loaded), before)
        assert.deepStrictEqual(metering.decide(loaded, cell.round()), said)
        assert.strictEqual(hash(cell.ledger), before)
      })
    }), 60)
  })
})
