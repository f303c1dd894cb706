import type { MillFact } from "@millrace/schemas"

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
  const waiting = [...lines].sort((left, right) =>
    left.storedAtMs - right.storedAtMs || left.stream.localeCompare(right.stream) || left.sequence - right.sequence || left.ordinal - right.ordinal)
  const known = new Set(lines.map(({ id }) => id))
  const placed = new Set<string>()
  const ordered: Array<Line> = []
  while (waiting.length > 0) {
    const free = waiting.findIndex(({ causedBy }) => causedBy === null || !known.has(causedBy) || placed.has(causedBy))
    // Facts cannot cause each other in a ring; if a log ever said so, what was stored first comes first.
    const [next] = waiting.splice(Math.max(0, free), 1)
    if (next === undefined) break
    placed.add(next.id)
    ordered.push(next)
  }
  return ordered
}

/** One line of a story, for people. */
export const sentence = (fact: MillFact): string => {
  switch (fact._tag) {
    case "JobSubmitted":
      return `submitted by ${fact.submittedBy}: ${fact.spec.runtime}, ${fact.spec.resources.cpuMilli / 1000} cores, ${fact.spec.resources.memoryMib} MiB, trust ${fact.spec.trust}; allowed by ${fact.decision.rule}`
    case "JobCancelRequested":
      return `${fact.requestedBy} asks for its end`
    case "JobDeferred":
      return `waits: ${fact.arithmetic}`
    case "JobRefused":
      return `refused: ${fact.reason}; ${fact.remedy}`
    case "PlacementMade":
      return `attempt ${fact.attempt} goes to ${fact.hostId}, ${fact.reason}`
    case "PlacementWithdrawn":
      return `attempt ${fact.attempt} is withdrawn from ${fact.hostId}: ${fact.cause}`
    case "AttemptStarted":
      return `attempt ${fact.attempt} runs on ${fact.hostId}`
    case "AttemptExited":
      return `attempt ${fact.attempt} is over: ${fact.cause}${fact.code === undefined ? "" : ` with ${fact.code}`}${fact.signal === undefined ? "" : ` by ${fact.signal}`}`
    case "AttemptRefused":
      return `attempt ${fact.attempt} is refused by its host: ${fact.reason} (${fact.detail})`
    case "ArtefactKept":
      return `${fact.name} is kept: ${fact.blob.sizeBytes} bytes${fact.droppedBytes > 0 ? `, ${fact.droppedBytes} more were dropped` : ""}`
    case "JobRetried":
      return `attempt ${fact.failedAttempt} failed (${fact.cause}); another follows`
    case "JobSettled":
      return `${fact.outcome}: ${fact.cause}`
    case "LateWordNoted":
      return `a late word of attempt ${fact.attempt} is noted: ${fact.word}`
    default:
      return fact._tag
  }
}
