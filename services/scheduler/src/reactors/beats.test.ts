import { assert, describe, it } from "@effect/vitest"
import { HostId } from "@millrace/schemas"
import { type ExpectedHost, Listener, type ListenerNote } from "./beats.ts"

const leaseMs = 15_000
const hostNamed = (number: number): HostId => HostId.make(`hst_${String(number).padStart(26, "0")}`)
const host = (number: number, more: Partial<ExpectedHost> = {}): ExpectedHost => ({ id: hostNamed(number), joined: { dialect: 2 }, dismissed: false, leaving: false, holds: new Map(), ...more })

/** A listener with a clock of the test's own, and a cell of so many hosts. */
class Listening {
  nowMs = 0
  readonly notes: Array<ListenerNote["what"]> = []
  readonly listener = new Listener({ leaseMs, epoch: 1, nowMs: () => this.nowMs, note: ({ what }) => void this.notes.push(what) })

  /** Nobody has taken over by now. */
  confirmed(): this {
    this.listener.confirm(this.nowMs)
    return this
  }

  sees(term: number, ...hosts: ReadonlyArray<ExpectedHost>): this {
    this.listener.watch({ term, hosts: new Map(hosts.map((each) => [each.id, each])) })
    return this
  }

  /** All the while the log says that nobody has taken over. */
  at(nowMs: number, ...beating: ReadonlyArray<number>): ReadonlyArray<string> {
    for (; this.nowMs < nowMs; this.nowMs = Math.min(nowMs, this.nowMs + 250)) this.confirmed()
    this.confirmed()
    for (const number of beating) this.listener.answer({ hostId: hostNamed(number), bootId: "boot", sentAtMonoMs: 0, attempts: 0 })
    return this.listener.silences(nowMs).map(({ hostId }) => hostId)
  }

  answer(number: number) {
    return this.listener.answer({ hostId: hostNamed(number), bootId: "boot", sentAtMonoMs: 0, attempts: 0 })
  }
}

describe("a scheduler listens to its hosts", () => {
  it("answers with its term and the lease, and not at all before it decides or after it has ceased to", () => {
    const cell = new Listening()
    assert.isUndefined(cell.confirmed().answer(1))
    cell.sees(4, host(1))
    assert.deepStrictEqual(cell.answer(1), { term: 4, leaseMs, lost: false })
    cell.listener.stop()
    assert.isUndefined(cell.answer(1))
  })

  it("answers nobody when it does not know for sure that nobody has taken over", () => {
    const cell = new Listening().sees(1, host(1))
    assert.isUndefined(cell.answer(1))
    assert.isDefined(cell.confirmed().answer(1))
    cell.nowMs = 801
    assert.isUndefined(cell.answer(1))
  })

  it("tells a lost host so until it was taken up again, and for ever which placements are void", () => {
    const cell = new Listening().confirmed().sees(1, host(1, { lost: { sequence: 7, returned: false } }))
    assert.deepStrictEqual(cell.answer(1), { term: 1, leaseMs, lost: true, voidBelow: { epoch: 1, sequence: 7 } })
    cell.sees(1, host(1, { lost: { sequence: 7, returned: true } }))
    assert.deepStrictEqual(cell.answer(1), { term: 1, leaseMs, lost: false, voidBelow: { epoch: 1, sequence: 7 } })
  })

  it("calls a host silent when its last beat is a lease ago, with the times of both", () => {
    const cell = new Listening().sees(1, host(1), host(2))
    cell.at(10_000, 1, 2)
    assert.deepStrictEqual(cell.at(24_000, 2), [])
    assert.strictEqual(cell.listener.dueAtMs(), 25_000)
    cell.nowMs = 25_000
    assert.deepStrictEqual(cell.listener.silences(25_000), [{ hostId: hostNamed(1), lastHeardAtMs: 10_000, leaseEndedAtMs: 25_000 }])
  })

  it("waits one full lease in a new term, whatever it had heard before", () => {
    const cell = new Listening().sees(1, host(1), host(2))
    cell.at(1_000, 1, 2)
    cell.nowMs = 14_000
    cell.sees(2, host(1), host(2))
    assert.deepStrictEqual(cell.at(28_999, 2), [])
    assert.deepStrictEqual(cell.at(29_000, 2), [hostNamed(1)])
  })

  it("takes itself for deaf when more than a tenth of the hosts, and more than one, fall silent together, and says so once", () => {
    const hosts = Array.from({ length: 20 }, (_, number) => host(number))
    const numbers = hosts.map((_, number) => number)
    const cell = new Listening().sees(1, ...hosts)
    cell.at(1_000, ...numbers)
    assert.deepStrictEqual(cell.at(16_000, ...numbers.slice(3)), [])
    assert.deepStrictEqual(cell.at(30_000, ...numbers.slice(3)), [])
    assert.deepStrictEqual(cell.notes, ["blames itself"])
    assert.deepStrictEqual(cell.at(34_000, ...numbers.slice(2)), [hostNamed(0), hostNamed(1)])
    assert.deepStrictEqual(cell.notes, ["blames itself", "hears again"])
  })

  it("does not blame itself for ever: while others are heard, those who stay silent are silent for themselves", () => {
    const cell = new Listening().sees(1, host(1), host(2), host(3))
    cell.at(1_000, 1, 2, 3)
    for (let nowMs = 16_000; nowMs < 75_000; nowMs += 3_000) assert.deepStrictEqual(cell.at(nowMs, 3), [])
    assert.deepStrictEqual(cell.at(80_000, 3), [hostNamed(1), hostNamed(2)])
  })

  it("hears nobody at all and calls nobody, however long that lasts", () => {
    const cell = new Listening().sees(1, host(1), host(2), host(3))
    for (let nowMs = 1_000; nowMs < 600_000; nowMs += 10_000) assert.deepStrictEqual(cell.at(nowMs), [])
  })

  it("calls nobody silent for the time in which it stood still itself, and listens anew behind it", () => {
    const cell = new Listening().sees(1, host(1))
    cell.at(1_000, 1)
    cell.nowMs = 20_000
    assert.deepStrictEqual(cell.listener.silences(20_000), [])
    assert.deepStrictEqual(cell.at(34_999), [])
    assert.deepStrictEqual(cell.at(35_000), [hostNamed(1)])
  })

  it("does not expect beats of an agent that is too old to send any", () => {
    const cell = new Listening().sees(1, host(1, { joined: { dialect: 1 } }), host(2))
    cell.at(10_000, 2)
    assert.deepStrictEqual(cell.at(20_000, 2), [])
    assert.deepStrictEqual(cell.at(40_000), [hostNamed(2)])
  })

  it("does not expect beats of those who left with nothing, were dismissed, are lost, or have not joined", () => {
    const cell = new Listening().sees(
      1, host(1, { joined: undefined }), host(2, { dismissed: true }), host(3, { leaving: true }), host(4, { lost: { sequence: 2, returned: false } }),
      host(5, { leaving: true, holds: new Map([["a", {}]]) })
    )
    assert.deepStrictEqual(cell.at(16_000), [])
    assert.deepStrictEqual(cell.at(32_000), [hostNamed(5)])
  })

  it("listens anew to one that comes back, though it said no beat meanwhile", () => {
    const cell = new Listening().sees(1, host(1), host(2))
    cell.at(1_000, 1, 2)
    assert.deepStrictEqual(cell.at(16_500, 2), [hostNamed(1)])
    cell.sees(1, host(1, { lost: { sequence: 3, returned: true } }), host(2))
    assert.deepStrictEqual(cell.at(20_000, 2), [])
    assert.deepStrictEqual(cell.at(34_000, 2), [])
    assert.deepStrictEqual(cell.at(50_000, 2), [hostNamed(1)])
  })
})
