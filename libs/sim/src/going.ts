import type { AttemptId, HostId, JobSpec } from "@millrace/schemas"
import type { Checker } from "./checkers.ts"
import { endsOf, factsIn, roundsOf, seenBy, taskOf } from "./history.ts"

/**
 * Nothing begins on a rented machine that goes back, once that was seen: what its provider takes back at a moment takes
 * at most what is over before, and what was released takes nothing.
 */
const nothingOnWhatGoes: Checker = (history) => {
  const broken: Array<string> = []
  const seen = seenBy(history, "BROKER")
  const goes = new Map<HostId, { readonly at: number; readonly deadlineAtMs: number }>()
  const hostOf = new Map(factsIn(history, "BROKER", "MachineEnrolled").map(({ event: { hostId, leaseId } }) => [leaseId, hostId]))
  for (const { commit, event } of factsIn(history, "BROKER", "ReclaimNoticed", "LeaseReleased")) {
    const host = hostOf.get(event.leaseId)
    if (host !== undefined && !goes.has(host)) goes.set(host, { at: commit.place.sequence, deadlineAtMs: event._tag === "ReclaimNoticed" ? event.deadlineAtMs : 0 })
  }
  for (const { commit, event: { attemptId, hostId, spec: { runMsMax } } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const going = goes.get(hostId)
    if (going !== undefined && going.at <= seen(commit) && commit.happenedAtMs + runMsMax > going.deadlineAtMs) broken.push(`${attemptId} was placed on ${hostId}, which was seen to go back`)
  }
  return broken
}

/**
 * Before a machine is taken back its work is told to leave it, this long ahead, in ms, unless it must have ended by then:
 * half a minute, and a second for each 16 MiB of a sandbox's disk (256 MiB where its job names none), two minutes at most.
 */
const leaveMsOf = ({ resources: { diskMib }, runtime }: Pick<JobSpec, "resources" | "runtime">): number =>
  Math.min(120_000, runtime === "sandbox" ? 30_000 + Math.ceil((diskMib || 256) * 62.5) : 30_000)

/**
 * Work is told to leave a machine that is taken back: by the first decision in that time that knew of it, as far as the
 * same scheduler went on to another.
 */
const workLeavesWhatGoes: Checker = (history) => {
  const broken: Array<string> = []
  const hostOf = new Map(factsIn(history, "BROKER", "MachineEnrolled").map(({ event: { hostId, leaseId } }) => [leaseId, hostId]))
  const ends = endsOf(history)
  const rounds = roundsOf(history)
  const withdrawn = new Map<AttemptId, number>()
  for (const { commit, event: { attemptId } } of factsIn(history, "SCHEDULER", "PlacementWithdrawn")) if (!withdrawn.has(attemptId)) withdrawn.set(attemptId, commit.place.sequence)
  const over = new Map(factsIn(history, "SCHEDULER", "JobRetried", "TaskSettled", "JobSettled").map(({ commit, event }) =>
    [`${taskOf(event)} ${event._tag === "JobRetried" ? event.failedAttempt : event.attempt}`, commit.place.sequence]))
  for (const { commit: { place }, event: { deadlineAtMs, leaseId } } of factsIn(history, "BROKER", "ReclaimNoticed")) {
    for (const { commit, event } of factsIn(history, "SCHEDULER", "PlacementMade")) {
      if (event.hostId !== hostOf.get(leaseId) || commit.happenedAtMs + event.spec.runMsMax <= deadlineAtMs) continue
      const at = rounds.findIndex(({ atMs, sawBroker }) => sawBroker >= place.sequence && atMs >= deadlineAtMs - leaveMsOf(event.spec))
      const round = rounds[at]
      if (round === undefined || round.atMs > deadlineAtMs || rounds[at + 1]?.term !== round.term || commit.place.sequence > round.last) continue
      const toldAt = withdrawn.get(event.attemptId) ?? over.get(`${taskOf(event)} ${event.attempt}`) ?? Number.POSITIVE_INFINITY
      if (toldAt > round.last && (ends.get(event.attemptId) ?? Number.POSITIVE_INFINITY) > round.saw) broken.push(`${event.attemptId} was not told to leave ${event.hostId}, which is taken back`)
    }
  }
  return broken
}

/** Nothing new is placed on a GPU that is suspected, once that was seen and until it is seen to be cleared. At most one at a time is, in these histories. */
const suspectsRest: Checker = (history) => {
  const broken: Array<string> = []
  const seen = seenBy(history)
  const words = factsIn(history, "HOSTS", "GpuSuspected", "GpuCleared")
  for (const { commit, event: { attemptId, gpus = [], hostId } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    if (gpus.length === 0) continue
    const suspected = new Set<number>()
    for (const { commit: { place }, event } of words) {
      if (event.hostId !== hostId || place.sequence > seen(commit)) continue
      if (event._tag === "GpuSuspected") suspected.add(event.gpu)
      else suspected.delete(event.gpu)
    }
    const bad = gpus.find((gpu) => suspected.has(gpu))
    if (bad !== undefined) broken.push(`${attemptId} was given device ${bad} of ${hostId}, which was seen to be suspected`)
  }
  return broken
}

/** Laws of machines and devices that come and go. */
export const lawsOfGoing: Readonly<Record<string, Checker>> = {
  "nothing begins on a machine that goes back": nothingOnWhatGoes,
  "work leaves a machine that is taken back": workLeavesWhatGoes,
  "nothing begins on a suspected GPU": suspectsRest
}
