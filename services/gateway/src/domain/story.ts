import { moneyText } from "@millrace/pricing"
import type { MillFact, Resources } from "@millrace/schemas"

/** A fact of a job's story, as far as telling it needs. */
export interface Told {
  readonly id: string
  readonly causedBy: string | null
  readonly storedAtMs: number
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
}

/**
 * Causes before what they caused; among what is free to come, what was stored first. Streams order
 * nothing between them, so a story is ordered by its causes.
 */
export const inCausalOrder = <Line extends Told>(lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const inTime = [...lines].sort((left, right) =>
    left.storedAtMs - right.storedAtMs || compare(left.stream, right.stream) || left.sequence - right.sequence || left.ordinal - right.ordinal)
  const known = new Set(inTime.map(({ id }) => id))
  const placed = new Set<string>()
  const ordered: Array<Line> = []
  /** What waits for its cause, by that cause, as places in time. */
  const parked = new Map<string, Array<number>>()
  const place = (at: number): void => {
    const line = inTime[at]!
    placed.add(line.id)
    ordered.push(line)
  }
  const isFree = ({ causedBy }: Line): boolean => causedBy === null || !known.has(causedBy) || placed.has(causedBy)
  for (const [at, line] of inTime.entries()) {
    if (!isFree(line)) {
      parked.set(line.causedBy!, [...(parked.get(line.causedBy!) ?? []), at])
      continue
    }
    // What comes free with it was stored before all that is still to come.
    const free = [at]
    for (let next = free.shift(); next !== undefined; next = free.shift()) {
      place(next)
      const released = parked.get(inTime[next]!.id)
      if (released === undefined) continue
      parked.delete(inTime[next]!.id)
      free.push(...released)
      free.sort((left, right) => left - right)
    }
  }
  // Facts cannot cause each other in a ring; if a log ever said so, they come last, as they were stored.
  for (const at of [...parked.values()].flat().sort((left, right) => left - right)) place(at)
  return ordered
}

const compare = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0)

/** One line of a story, for people: what is so from now on, and why. */
export const sentence = (fact: MillFact): string => {
  switch (fact._tag) {
    case "JobSubmitted":
      return `submitted by ${fact.submittedBy}${of(" under ", fact.grant)}${fact.parent === undefined ? "" : ` from inside ${fact.parent.jobId}`}${of(" by trigger ", fact.origin?.trigger)}: ${
        fact.spec.array === undefined ? "" : `${counted(fact.spec.array.tasks, "task")} of `}${fact.spec.runtime}, ${sizeOf(fact.spec.resources)}, trust ${fact.spec.trust}${
        fact.spec.after === undefined || fact.spec.after.length === 0 ? "" : `, after ${fact.spec.after.map(({ jobId }) => jobId).join(", ")}`}${of(", from ", fact.spec.startFrom)}; allowed by ${fact.decision.rule}`
    case "JobCancelRequested":
      return `${fact.requestedBy} asks for its end; allowed by ${fact.decision.rule}`
    case "JobDeferred":
      return `waits: ${fact.arithmetic}`
    case "JobRefused":
      return `refused: ${fact.reason}; ${fact.remedy}`
    case "PlacementMade":
      return `${which(fact)} goes to ${fact.hostId}, ${fact.reason}${fact.snapshot === undefined ? "" : `; from ${fact.snapshot}`}${
        fact.share === undefined ? "" : `; at most ${moneyText(fact.share.amountPico)} of ${fact.share.account}`}`
    case "SliceExtended":
      return `${which(fact)} may spend ${moneyText(fact.share.amountPico)} more`
    case "PlacementWithdrawn":
      return `${which(fact)} is withdrawn from ${fact.hostId}: ${fact.why ?? withdrawals[fact.cause]}`
    case "AttemptStarted":
      return `${which(fact)} runs on ${fact.hostId}`
    case "AttemptReady":
      return `${which(fact)} is ready to serve`
    case "PhaseEntered":
      return `${which(fact)} is ${fact.phase}`
    case "AttemptExited":
      return `${which(fact)} is over: ${exits[fact.cause]}${fact.code === undefined ? "" : ` with ${fact.code}`}${of(" by ", fact.signal)}`
    case "AttemptRefused":
      return `${which(fact)} is refused by its host: ${fact.reason} (${fact.detail})`
    case "ArtefactKept":
      return `${fact.name} is kept: ${fact.blob.sizeBytes} bytes${fact.droppedBytes > 0 ? `, ${fact.droppedBytes} more were dropped` : ""}`
    case "SnapshotWritten":
      return `${fact.form} of ${which(fact)} are written as ${fact.snapshotId}: ${fact.blob.sizeBytes} bytes`
    case "SnapshotPlanned":
      return `a snapshot of its ${fact.form} is to be kept (${fact.cause}): ${fact.snapshotId}`
    case "SnapshotAvailable":
      return `${fact.snapshotId} is kept: jobs can start from it (${fact.blob.sizeBytes} bytes)`
    case "SnapshotAbandoned":
      return `${fact.snapshotId} will not come: ${fact.cause} (${fact.detail})`
    case "SnapshotAsked":
      return `${fact.askedBy} asks that its ${fact.form} are kept`
    case "JobRetried":
      return fact.lost === true
        ? `attempt ${fact.failedAttempt}${ofTask(fact)} was lost with its host (${fact.cause}); another follows once its lease is surely over, and this one does not count`
        : fact.preempted === true || fact.gang === true
        ? `attempt ${fact.failedAttempt}${ofTask(fact)} ended for others (${fact.cause}); another follows, and this one does not count`
        : `attempt ${fact.failedAttempt}${ofTask(fact)} failed (${fact.cause}); another follows`
    case "TaskSettled":
      return `task ${fact.task} ${fact.outcome}: ${fact.cause}`
    case "JobSettled":
      return `${fact.outcome}: ${fact.cause}${fact.tasks === undefined ? "" : `; of its tasks ${tasksText(fact.tasks)}`}`
    case "LateWordNoted":
      return `a late word of ${which(fact)} is noted and changes nothing: ${fact.word}`
    case "SpendCommitted":
      return `${which(fact)} cost ${moneyText(fact.amountPico)}, from ${fact.account}`
    case "SessionOpened":
      return `${fact.openedBy} opens ${sessions[fact.form]} of attempt ${fact.attempt}; allowed by ${fact.decision.rule}`
    case "SessionClosed":
      return `the session is closed (${fact.cause}): ${fact.inBytes} bytes in, ${fact.outBytes} bytes out`
    case "TriggerFired":
      return `trigger ${fact.trigger} fires for ${fact.event}`
    case "DecisionMade":
      return `${fact.request.principal} ${fact.verdict === "allow" ? "may" : "may not"} ${fact.request.action} ${fact.request.resource}: ${fact.reason} (${fact.rule} at the ${fact.point})${missing(fact.missing)}`
    case "HostDeclaredLost":
      return `${fact.hostId} is declared lost: silent for ${fact.leaseEndedAtMs - fact.lastHeardAtMs} ms, its lease is over`
    case "HostReturned":
      return `${fact.hostId} speaks again; what it says of older attempts is void`
    case "HostLeft":
      return `${fact.hostId} left: ${fact.cause}`
    case "HostDraining":
      return `${fact.hostId} takes nothing new: ${fact.cause}`
    case "GrantRevoked":
      return `${fact.revokedBy} revokes ${fact.grantId}: ${fact.cause}${fact.below === 0 ? "" : `; ${counted(fact.below, "grant")} below it end too`}`
    case "GrantSuspended":
      return `${fact.suspendedBy} suspends ${fact.grantId}: ${fact.cause}`
    case "GrantResumed":
      return `${fact.resumedBy} resumes ${fact.grantId}: ${fact.cause}`
    case "BudgetExhausted":
      return `${fact.account} is spent: ${moneyText(fact.committedPico)} committed and ${moneyText(fact.lentPico)} lent of ${moneyText(fact.limitPico)}`
    default:
      return fact._tag
  }
}

const withdrawals = {
  cancelled: "somebody asked for its end",
  timed_out: "its time is over",
  preempted: "others come first",
  host_lost: "the host is lost",
  budget: "its money is spent",
  revoked: "what allowed it was taken back",
  settled: "the job is over"
} as const

const exits = {
  exited: "exited",
  withdrawn: "ended as asked",
  timed_out: "ended, its time was over",
  start_timed_out: "ended, it did not run in time",
  idle_timed_out: "ended, it did nothing for too long",
  out_of_memory: "ended, its memory was full",
  agent_restarted: "ended, its host's agent began anew",
  lease_ended: "ended, its host was silent for too long",
  spend_ended: "ended, its money was spent"
} as const

const sessions = { exec: "a shell into", port: "a port", files: "the files", output: "the output" } as const

const which = (fact: { readonly attempt: number; readonly task?: number }): string => `attempt ${fact.attempt}${ofTask(fact)}`

const ofTask = ({ task }: { readonly task?: number }): string => (task === undefined ? "" : ` of task ${task}`)

const of = (before: string, word: string | undefined): string => (word === undefined ? "" : `${before}${word}`)

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`

const sizeOf = ({ cpuMilli, gpuMilli = 0, gpus, memoryMib }: Resources): string =>
  `${counted(cpuMilli / 1000, "core")}, ${memoryMib} MiB${gpus === 0 ? "" : `, ${counted(gpus, "GPU")}`}${gpuMilli === 0 ? "" : `, ${gpuMilli / 1000} of a GPU`}`

const tasksText = (tasks: Readonly<Record<string, number>>): string =>
  Object.entries(tasks).filter(([, count]) => count > 0).map(([outcome, count]) => `${count} ${outcome}`).join(", ") || "none"

const missing = (wanted: { readonly limit?: string; readonly needs?: string; readonly has?: string } | undefined): string =>
  wanted?.limit === undefined ? "" : `; ${wanted.limit} is ${wanted.has ?? "too small"}, ${wanted.needs ?? "more"} is needed`
