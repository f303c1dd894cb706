import { assert, describe, it } from "@effect/vitest"
import type { BlobRef, MillFact } from "@millrace/schemas"
import { acme, ask, exited, expiryAsked, hostId, imageAsked, job, lost, otherHost, placed, refused, saying, snapshotAsked, written } from "../testing/cell.ts"
import { decide, dueAtMs, type Keeping, toVerify } from "./decide.ts"
import { snapshotAtEndOf } from "./snapshot-id.ts"
import { emptyState, evolve, type State } from "./state.ts"

const blob: BlobRef = { digest: `sha256:${"a".repeat(64)}` as BlobRef["digest"], sizeBytes: 5 }
const made = placed(1)
const snapshotId = snapshotAtEndOf(made)

/** The state after these facts and all that was said of them, in order. A boolean is what was found in the store. */
const given = (history: ReadonlyArray<MillFact | boolean>, keeping: Keeping = {}, atMs = 0) => {
  const state = emptyState()
  const said: Array<MillFact> = []
  const settle = () => {
    for (let round = decide(keeping)(state, { atMs }); round.length > 0; round = decide(keeping)(state, { atMs })) {
      for (const { facts } of round) for (const { event } of facts) {
        said.push(event)
        evolve(state, saying(event))
      }
    }
  }
  for (const heard of history) {
    if (typeof heard === "boolean") for (const { snapshotId } of toVerify(state)) state.whole.set(snapshotId, heard)
    else evolve(state, saying(heard))
    settle()
  }
  return { state, said, names: said.map((event) => event._tag === "SnapshotAbandoned" || event._tag === "SnapshotExpired" ? `${event._tag} ${event.cause}` : event._tag === "AskRefused" ? `${event._tag} ${event.reason}` : event._tag) }
}

describe("a snapshot", () => {
  it("keeps its id: hosts derive the same one", () => {
    assert.match(snapshotId, /^snp_[0-9A-Z]{26}$/u)
    assert.strictEqual(snapshotAtEndOf({ attemptId: "att_00000000000000000000000000" as never }), "snp_0000000000AQNBAZJPRNZHY1SA")
  })

  it("is planned when its job is placed, and there when its bytes are whole", () => {
    const { said } = given([made, written(made, blob), true, exited(made)])
    assert.deepStrictEqual(said, [
      { _tag: "SnapshotPlanned", snapshotId, workspace: acme, jobId: made.jobId, hostId, attemptId: made.attemptId, form: "files", retention: {}, cause: "finished" },
      { _tag: "SnapshotAvailable", snapshotId, workspace: acme, jobId: made.jobId, attemptId: made.attemptId, form: "files", blob, runtime: "sandbox" }
    ])
  })

  const ends: ReadonlyArray<readonly [string, ReadonlyArray<MillFact | boolean>, ReadonlyArray<string>]> = [
    ["no job that does not ask for one has one", [placed(1, { keep: false }), exited(made)], []],
    ["that is not whole is given up", [made, written(made, blob), false, exited(made)], ["SnapshotPlanned", "SnapshotAbandoned not_whole"]],
    ["is given up when its attempt ends without it", [made, exited(made)], ["SnapshotPlanned", "SnapshotAbandoned not_written"]],
    ["is given up when its host refuses the work", [made, refused(made)], ["SnapshotPlanned", "SnapshotAbandoned work_ended"]],
    ["is given up with its host", [made, lost(hostId)], ["SnapshotPlanned", "SnapshotAbandoned host_lost"]],
    ["outlives the host that has written it", [made, written(made, blob), lost(hostId), true], ["SnapshotPlanned", "SnapshotAvailable"]],
    ["is not given up with another host", [made, lost(otherHost)], ["SnapshotPlanned"]],
    ["that was given up does not come back", [made, lost(hostId), written(made, blob), true], ["SnapshotPlanned", "SnapshotAbandoned host_lost"]],
    ["is planned for each attempt", [made, exited(made), placed(1, { attempt: 2 })], ["SnapshotPlanned", "SnapshotAbandoned not_written", "SnapshotPlanned"]],
    ["is nobody's but its own host's to write", [made, { ...written(made, blob), hostId: otherHost }, true], ["SnapshotPlanned"]],
    ["is written once", [made, written(made, blob), written(made, { ...blob, sizeBytes: 6 }), true], ["SnapshotPlanned", "SnapshotAvailable"]],
    ["expires when asked, once", [made, written(made, blob), true, expiryAsked(1, made), expiryAsked(2, made)], ["SnapshotPlanned", "SnapshotAvailable", "SnapshotExpired asked", "AskFoundDone"]],
    ["cannot expire before it is there", [made, expiryAsked(1, made)], ["SnapshotPlanned", "AskRefused invalid"]],
    ["that nobody knows cannot expire", [expiryAsked(1, made)], ["AskRefused unknown"]],
    ["of another workspace is not known", [made, { ...expiryAsked(1, made), workspace: "other" } as MillFact], ["SnapshotPlanned", "AskRefused unknown"]],
    ["that will come need not be asked for", [made, snapshotAsked(1, job(1))], ["SnapshotPlanned", "AskFoundDone"]],
    ["of a job that keeps none is refused", [placed(1, { keep: false }), snapshotAsked(1, job(1)), imageAsked(2), snapshotAsked(3, job(1), "memory")], ["AskRefused invalid", "AskRefused invalid", "AskRefused invalid"]]
  ]
  for (const [sentence, history, names] of ends) it(sentence, () => assert.deepStrictEqual(given(history).names, names))

  it("is kept as long as its retention says", () => {
    const history = [made, written(made, blob), true]
    const { names, state } = given(history, { keepMs: 1_000 })
    assert.deepStrictEqual(names, ["SnapshotPlanned", "SnapshotAvailable"])
    assert.strictEqual(dueAtMs(state), 1_000)
    assert.deepStrictEqual(decide({ keepMs: 1_000 })(state, { atMs: 999 }), [])
    assert.deepInclude(decide({ keepMs: 1_000 })(state, { atMs: 1_000 })[0]?.facts[0].event, { _tag: "SnapshotExpired", cause: "retention" })
  })

  it("whatever was said is said once, in whatever order the streams are read again", () => {
    for (const [, history] of ends) {
      const { said } = given(history)
      const facts = history.filter((heard) => typeof heard !== "boolean")
      const hosts = facts.filter(({ _tag }) => ["SnapshotWritten", "AttemptExited", "AttemptRefused"].includes(_tag))
      const others = facts.filter((fact) => !hosts.includes(fact))
      for (const order of [[...said, ...others, ...hosts], [...others, ...said, ...hosts], [...others, ...hosts, ...said]]) {
        const again: State = emptyState()
        for (const event of order) evolve(again, saying(event))
        assert.deepStrictEqual(decide({})(again, { atMs: 0 }), [])
        assert.deepStrictEqual([...again.asks.keys(), ...again.answeredEarly], [])
      }
    }
  })

  it("an answer names its question", () => {
    const { said } = given([made, written(made, blob), true, expiryAsked(7, made), imageAsked(8)])
    assert.deepStrictEqual(said.flatMap((event) => "answers" in event ? [event.answers] : []), [ask(7), ask(8)])
  })
})
