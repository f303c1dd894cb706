import type { StoredCommit, StreamDecider } from "@millrace/journal"
import type { MillFact, Principal, SnapshotId } from "@millrace/schemas"
import { decide, dueAtMs, type Keeping } from "./decide.ts"
import { emptyState, evolve, type Kept, type PendingAsk, type State } from "./state.ts"

/** The log lets a host write on its own subjects alone; a fact there about another host is nobody's word. */
const speaksForItself = ({ subject: { kind, scope } }: StoredCommit, event: MillFact): boolean =>
  kind !== "attempt" || ("hostId" in event && event.hostId === scope)

const inOrder = <V>(entries: Iterable<readonly [string, V]>): ReadonlyArray<readonly [string, V]> => [...entries].sort(([left], [right]) => (left < right ? -1 : 1))

/** Which snapshots there will be, are, and are no more; and what is answered to those who ask. */
export const snapshots = (keeping: Keeping): StreamDecider<State> => ({
  name: "snapshots",
  codeVersion: "2",
  actor: "service:snapshots" as Principal,
  writes: "SNAPSHOTS",
  hears: ["GATEWAY", "SCHEDULER", "HOSTS"],
  initial: emptyState,
  evolve: (state, fact) => (speaksForItself(fact.commit, fact.event) ? evolve(state, fact) : state),
  freeze: (state, { subject: { scope, story } }) => {
    state.frozen.add(scope === "snapshots" ? story ?? scope : scope)
    return state
  },
  decide: decide(keeping),
  dueAtMs,
  save: (state) => ({
    snapshots: inOrder(state.snapshots).map(([, kept]) => kept),
    ofJob: inOrder(state.ofJob),
    asks: inOrder(state.asks),
    answeredEarly: [...state.answeredEarly].sort(),
    frozen: [...state.frozen].sort()
  }),
  load: (saved: never) => {
    const plain = saved as { snapshots: ReadonlyArray<Kept>; ofJob: ReadonlyArray<[never, SnapshotId]>; asks: ReadonlyArray<[never, PendingAsk]>; answeredEarly: ReadonlyArray<never>; frozen: ReadonlyArray<string> }
    const state = emptyState()
    for (const kept of plain.snapshots) {
      state.snapshots.set(kept.snapshotId, kept)
      if (kept.stands === "wanted" || kept.stands === "planned" || (kept.stands === "available" && kept.untilMs !== undefined)) state.open.add(kept.snapshotId)
    }
    for (const [job, snapshotId] of plain.ofJob) state.ofJob.set(job, snapshotId)
    for (const [ask, pending] of plain.asks) state.asks.set(ask, pending)
    for (const ask of plain.answeredEarly) state.answeredEarly.add(ask)
    for (const scope of plain.frozen) state.frozen.add(scope)
    return state
  }
})
