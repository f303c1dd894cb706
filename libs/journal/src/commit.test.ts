import { assert, describe, it } from "@effect/vitest"
import { type FactId, FactUnreadable, HostId, type MillFact, Principal, type Subject } from "@millrace/schemas"
import { Result } from "effect"
import { readable, speaksForItself, type StoredCommit } from "./commit.ts"
import { foldCommit, foreseen, MustStepDown, type StreamDecider } from "./deciding.ts"

const [one, other] = [HostId.make(`hst_${"1".repeat(26)}`), HostId.make(`hst_${"2".repeat(26)}`)]
const id = "fct_1" as FactId
const told = (subject: Subject, event: MillFact, mustUnderstand = false): StoredCommit =>
  foreseen({ subject, actor: Principal.make("service:test"), happenedAtMs: 0, facts: [{ id, partOf: id, event, mustUnderstand }] }, "HOSTS", 1, 1)
const limit = { _tag: "LimitChanged", workspace: "acme", account: "acc_1", limitPico: 1n, changedBy: "user:eve", answers: "ask_1" } as unknown as MillFact
const draining = (hostId: HostId): MillFact => ({ _tag: "HostDraining", hostId, cause: "asked" }) as MillFact
const lost = { _tag: "HostDeclaredLost", hostId: one, lastHeardAtMs: 0, leaseEndedAtMs: 1 } as MillFact
const names = (commit: StoredCommit) => readable(commit).facts.map(({ name }) => name)

describe("what a host says", () => {
  it("is in the words of hosts, or it is nobody's: a limit, a price or a verdict is not its to say", () => {
    assert.deepStrictEqual(names(told({ kind: "host", scope: one }, draining(one))), ["HostDraining"])
    for (const kind of ["host", "attempt"]) {
      for (const event of [limit, lost]) {
        const commit = told({ kind, scope: one }, event)
        assert.deepStrictEqual([readable(commit).facts, readable(commit).unreadable], [[], []], `${event._tag} on ${kind}`)
      }
    }
    assert.deepStrictEqual(names(told({ kind: "decision", scope: "host", story: one }, limit)), [])
    // Where services write, nothing is sifted: the log lets nobody else write there.
    assert.deepStrictEqual(names(told({ kind: "budget", scope: "acme", story: "acc_1" }, limit)), ["LimitChanged"])
  })

  it("is about itself, or it is nobody's", () => {
    const speaks = (subject: Subject, event: MillFact) => speaksForItself(told(subject, event), event)
    assert.deepStrictEqual([speaks({ kind: "host", scope: one }, draining(one)), speaks({ kind: "host", scope: one }, draining(other))], [true, false])
    const decided = (point: string, hostId?: HostId) => ({ _tag: "DecisionMade", point, hostId }) as unknown as MillFact
    const place = { kind: "decision", scope: "host", story: one }
    assert.deepStrictEqual([speaks(place, decided("host", one)), speaks(place, decided("host", other)), speaks(place, decided("gateway", one)), speaks(place, decided("host"))], [true, false, false, false])
    assert.isTrue(speaks({ kind: "decision", scope: "gateway" }, decided("gateway")))
  })

  it("ends no decider: what services must understand, services say", () => {
    const decider = { name: "test", evolve: (count: number) => count + 1, freeze: (count: number) => count } as unknown as StreamDecider<number>
    const unknown = (subject: Subject): StoredCommit => {
      const { facts: [fact], ...commit } = told(subject, draining(one), true)
      return { ...commit, facts: [{ ...fact!, name: "NeverHeardOf", event: Result.fail(new FactUnreadable({ name: "NeverHeardOf", version: 1, reason: "no such fact is known here" })) }] }
    }
    assert.strictEqual(foldCommit(decider, 0, unknown({ kind: "host", scope: one })), 0)
    assert.throws(() => foldCommit(decider, 0, unknown({ kind: "fleet", scope: "cell" })), MustStepDown)
  })
})
