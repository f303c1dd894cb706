import type { StoredCommit } from "@millrace/journal"
import type { AttemptId, GangTerms, HostId, JobId, PlacementMade } from "@millrace/schemas"
import type { Checker } from "./checkers.ts"
import { commitsIn, endsOf, factsIn, type History, roundsOf, taskOf } from "./history.ts"

interface Gang {
  /** As it was submitted. */
  readonly terms: GangTerms
  readonly jobId: JobId
  readonly members: ReadonlyArray<{ readonly made: PlacementMade; readonly commit: StoredCommit }>
}

/** What was placed of each gang, by job and attempt. */
const gangsIn = (history: History): ReadonlyMap<string, Gang> => {
  const terms = new Map(factsIn(history, "GATEWAY", "JobSubmitted").map(({ event: { jobId, spec: { gang } } }) => [jobId, gang]))
  const gangs = new Map<string, Gang>()
  for (const { commit, event: made } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const gang = terms.get(made.jobId)
    if (gang === undefined) continue
    const name = `${made.jobId}#${made.attempt}`
    gangs.set(name, { terms: gang, jobId: made.jobId, members: [...gangs.get(name)?.members ?? [], { made, commit }] })
  }
  return gangs
}

/** All members of a gang are placed, each once, in neighbouring commits of one decision; or none is. */
const gangsWhole: Checker = (history) => {
  const broken: Array<string> = []
  const turn = new Map<StoredCommit, number>()
  for (const commit of commitsIn(history, "SCHEDULER")) if (commit.facts.length > 0) turn.set(commit, turn.size)
  for (const [name, { members, terms }] of gangsIn(history)) {
    const ranks = members.map(({ made }) => made.gang?.rank ?? -1).sort((left, right) => left - right)
    if (ranks.length !== terms.members || ranks.some((rank, at) => rank !== at)) broken.push(`of ${name} members ${ranks.join(", ")} were placed, and it has ${terms.members}`)
    const turns = [...new Set(members.map(({ commit }) => turn.get(commit)!))].sort((left, right) => left - right)
    if (turns.at(-1)! - turns[0]! !== turns.length - 1) broken.push(`${name} was placed in commits ${turns.join(", ")}, with others between them`)
  }
  return broken
}

/** Members of a gang are where its topology says: what they share is what their hosts, or whoever rented these, say of them. */
const gangsShare: Checker = (history) => {
  const broken: Array<string> = []
  const labels = labelsIn(history)
  for (const [name, { members, terms: { topology } }] of gangsIn(history)) {
    if (topology === "anywhere") continue
    const shared = new Set(members.map(({ made: { hostId } }) => (topology === "host" ? hostId : labels(hostId, topology))))
    if (shared.size !== 1 || shared.has(undefined)) broken.push(`${name} lies on one ${topology} by its terms, and on ${[...shared].join(", ")}`)
  }
  return broken
}

const labelsIn = (history: History): (host: HostId, label: string) => string | undefined => {
  const own = new Map(factsIn(history, "HOSTS", "HostJoined").map(({ event: { capabilities, hostId } }) => [hostId, capabilities.labels]))
  const leases = new Map(factsIn(history, "BROKER", "LeaseRequested").map(({ event }) => [event.leaseId, event]))
  const rented = new Map(factsIn(history, "BROKER", "MachineEnrolled").map(({ event: { hostId, leaseId } }) => [hostId, leases.get(leaseId)]))
  return (host, label) => {
    const lease = rented.get(host)
    const said = lease === undefined ? undefined : {
      zone: lease.column.zone, provider: lease.provider, fabric: lease.fabric === true ? `${lease.provider}/${lease.column.region}` : undefined
    }[label]
    return said ?? own.get(host)?.[label]
  }
}

/** No member of a gang's later attempt runs while one of an earlier attempt still does: whatever runs of it belongs together. */
const gangsRunTogether: Checker = (history) => {
  const broken: Array<string> = []
  const gangs = new Set([...gangsIn(history).values()].map(({ jobId }) => jobId))
  const running = new Map<string, Map<AttemptId, number>>()
  for (const { attempt, attemptId, jobId, mark } of history.work) {
    if (!gangs.has(jobId)) continue
    const here = running.get(jobId) ?? new Map<AttemptId, number>()
    running.set(jobId, here)
    if (mark === "stopped") {
      here.delete(attemptId)
      continue
    }
    const other = [...here].find(([, one]) => one !== attempt)
    if (other !== undefined) broken.push(`${attemptId} of attempt ${attempt} of ${jobId} started while ${other[0]} of attempt ${other[1]} was running`)
    here.set(attemptId, attempt)
  }
  return broken
}

/**
 * When a member has ended otherwise than well, those that still run are told to end by the first decision that knew of
 * it; as far as the same scheduler went on to another decision, because in between it may have died.
 */
const gangsEndTogether: Checker = (history) => {
  const broken: Array<string> = []
  const bad = new Map<AttemptId, number>()
  for (const { commit, event } of factsIn(history, "HOSTS", "AttemptExited", "AttemptRefused")) {
    const well = event._tag === "AttemptExited" && event.cause === "exited" && event.code === 0
    if (!well && !bad.has(event.attemptId)) bad.set(event.attemptId, commit.place.sequence)
  }
  const ends = endsOf(history)
  const withdrawn = new Set(factsIn(history, "SCHEDULER", "PlacementWithdrawn").map(({ event: { attemptId } }) => attemptId))
  const over = new Set(factsIn(history, "SCHEDULER", "JobSettled", "JobRefused").map(({ commit, event }) => `${event.jobId} ${commit.place.sequence}`))
  const retried = new Set(factsIn(history, "SCHEDULER", "JobRetried").flatMap(({ event }) => (event.lost === true ? [`${taskOf(event)} ${event.failedAttempt}`] : [])))
  const rounds = roundsOf(history)
  for (const [name, { members }] of gangsIn(history)) {
    const worst = members.map(({ made: { attemptId } }) => bad.get(attemptId) ?? Number.POSITIVE_INFINITY)
    const at = Math.min(...worst)
    const knew = rounds.findIndex(({ saw }) => saw >= at)
    const round = rounds[knew]
    if (round === undefined || rounds[knew + 1]?.term !== round.term) continue
    for (const { made } of members) {
      const told = withdrawn.has(made.attemptId) || retried.has(`${taskOf(made)} ${made.attempt}`) || (ends.get(made.attemptId) ?? Number.POSITIVE_INFINITY) <= round.saw
      if (!told && !over.has(`${made.jobId} ${round.last}`)) broken.push(`a member of ${name} had ended badly, and member ${made.gang?.rank} was not told to end at SCHEDULER ${round.last}`)
    }
  }
  return broken
}

/** Laws of jobs whose members run at the same time or not at all. */
export const lawsOfGangs: Readonly<Record<string, Checker>> = {
  "a gang is placed whole or not at all": gangsWhole,
  "a gang lies where its topology says": gangsShare,
  "of a gang only one attempt runs at a time": gangsRunTogether,
  "when a member ends badly, all are told to end": gangsEndTogether
}
