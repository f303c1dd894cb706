import { assert, describe, it } from "@effect/vitest"
import { deriveId } from "@millrace/decider"
import { foldCommit, foreseen, type StoredCommit } from "@millrace/journal"
import type { AttemptId, FactId, HostId, MillFact, Principal } from "@millrace/schemas"
import { admitted, Desk, digestOf, firstLease, granted, joined, observed, offer, tags, tookOver, waits } from "../testing/desk.ts"
import { broker } from "./broker.ts"
import type { Host } from "./state.ts"

const { hostId } = joined as { hostId: HostId }
const attempt = deriveId<AttemptId>("att", 0, "one")
const placed = { _tag: "PlacementMade", hostId, attemptId: attempt } as never as MillFact
const exited = { _tag: "AttemptExited", hostId, attemptId: attempt } as never as MillFact
const lost = { _tag: "HostDeclaredLost", hostId } as never as MillFact
const returned = { _tag: "HostReturned", hostId, bootId: "b" } as never as MillFact

/** What the host says of itself, in its order. */
const said = (...events: ReadonlyArray<MillFact>): ReadonlyArray<StoredCommit> =>
  events.map((event, at) => commit({ kind: "host", scope: hostId }, "HOSTS", at + 1, event))

/** What the scheduler says, each with how much of HOSTS it had seen. */
const decided = (...events: ReadonlyArray<readonly [saw: number, event: MillFact]>): ReadonlyArray<StoredCommit> =>
  events.map(([saw, event], at) => commit({ kind: "fleet", scope: "cell" }, "SCHEDULER", at + 1, event, saw))

const commit = (subject: Parameters<typeof foreseen>[0]["subject"], stream: string, sequence: number, event: MillFact, saw?: number): StoredCommit => {
  const id = deriveId<FactId>("fct", 0, stream, sequence)
  const decision = saw === undefined ? {} : { decided: { saw: { HOSTS: saw }, decidedAtMs: sequence, ordinal: 0, of: 1 } }
  return foreseen({ subject, actor: "service:test" as Principal, happenedAtMs: sequence, facts: [{ id, partOf: id, event }], ...decision }, stream as never, sequence, 1)
}

/** Every order in which two streams can be heard. */
const interleaved = (left: ReadonlyArray<StoredCommit>, right: ReadonlyArray<StoredCommit>): ReadonlyArray<ReadonlyArray<StoredCommit>> =>
  left.length === 0 ? [right] : right.length === 0 ? [left] : [
    ...interleaved(left.slice(1), right).map((rest) => [left[0]!, ...rest]),
    ...interleaved(left, right.slice(1)).map((rest) => [right[0]!, ...rest])
  ]

const standing = (heard: ReadonlyArray<StoredCommit>) => {
  const { goneSinceMs, lastWorkAtMs, left, running, worked } = heard.reduce((state, one) => foldCommit(broker, state, one), broker.initial()).hosts.get(hostId) as Host
  return { goneSinceMs, lastWorkAtMs, left, running: [...running], worked }
}

describe("a machine that was lost", () => {
  /** A machine is bought, its host joins, gets work or none, and is lost for good. */
  const life = (works: boolean): Desk => {
    const desk = new Desk().hear(0, tookOver(), observed(offer("small")), waits(1))
    desk.decide(1)
    desk.hear(2, granted(firstLease(desk)), admitted(digestOf(desk)), joined, ...(works ? [placed] : []), waits(0))
    desk.decide(3)
    desk.hear(4, lost)
    assert.include(tags(desk.decide(1_000_000)), "LeaseReleased unhealthy")
    return desk
  }
  const learnt = ({ log }: Desk, ...streams: ReadonlyArray<string>) => {
    const { blocked, chances } = streams.flatMap((stream) => log.filter(({ place }) => place.stream === stream)).reduce((state, one) => foldCommit(broker, state, one), broker.initial())
    return { blocked: [...blocked], chances: [...chances] }
  }

  for (const works of [true, false]) {
    it(`speaks against its kind only where it never had work, whichever stream is read first: ${works ? "it had some" : "it had none"}`, () => {
      const desk = life(works)
      assert.deepStrictEqual(learnt(desk, "BROKER", "SCHEDULER", "ACCESS", "HOSTS"), learnt(desk, "SCHEDULER", "ACCESS", "HOSTS", "BROKER"))
      assert.strictEqual(learnt(desk, "BROKER", "SCHEDULER", "ACCESS", "HOSTS").blocked.length, works ? 0 : 1)
    })
  }
})

describe("what a broker knows of a host", () => {
  for (const [name, host, scheduler, gone] of [
    ["that joined, worked and was lost: it is gone", said(joined), decided([1, placed], [1, lost]), 2],
    ["that was lost after its work had ended: it is gone", said(joined, exited), decided([1, placed], [2, lost]), 2],
    ["that joined again after it was lost, before the scheduler has said so: it is there", said(joined, joined), decided([1, placed], [1, lost]), undefined],
    ["that the scheduler heard of again: it is there", said(joined, joined), decided([1, lost], [2, returned]), undefined],
    ["that was lost, came back and was lost again: it is gone since then", said(joined, joined), decided([1, lost], [2, returned], [2, lost]), 3]
  ] as const) {
    it(`${name}, in whichever order the streams are heard`, () => {
      for (const heard of interleaved(host, scheduler)) {
        assert.deepStrictEqual(standing(heard).goneSinceMs, gone, heard.map(({ facts }) => String(facts[0]?.id)).join(" "))
        assert.deepStrictEqual(standing(heard), standing([...scheduler, ...host]))
      }
    })
  }
})
