import { brokenLink, endOf } from "@millrace/authority"
import type { Fact } from "@millrace/journal"
import type { AttemptId, FactId, GrantId, JobId, PlacementMade, WarrantId, WarrantRevoked } from "@millrace/schemas"
import { type Registry, unboundKey } from "./registry.ts"

/** Work that runs under a grant: what its host is told when that grant no longer holds, and the story that it belongs to. */
export interface Placed extends Pick<PlacementMade, "attempt" | "attemptId" | "hostId" | "jobId" | "task" | "workspace"> {
  readonly warrantId: WarrantId
  readonly leaf: GrantId
  readonly partOf: FactId
}

/** What runs under grants right now, as the scheduler says. Changed in place. */
export interface Placements {
  readonly byAttempt: Map<AttemptId, Placed>
  readonly byJob: Map<JobId, Set<AttemptId>>
  readonly byGrant: Map<GrantId, Set<AttemptId>>
}

export const emptyPlacements = (): Placements => ({ byAttempt: new Map(), byJob: new Map(), byGrant: new Map() })

/** What runs, as it is kept for the next start. */
export const savedPlacements = ({ byAttempt }: Placements): ReadonlyArray<Placed> => [...byAttempt.values()]

export const placementsOf = (saved: ReadonlyArray<Placed>): Placements => {
  const placements = emptyPlacements()
  for (const placed of saved) keep(placements, placed)
  return placements
}

const keep = (placements: Placements, placed: Placed): void => {
  placements.byAttempt.set(placed.attemptId, placed)
  setIn(placements.byJob, placed.jobId).add(placed.attemptId)
  setIn(placements.byGrant, placed.leaf).add(placed.attemptId)
}

const heardNames: ReadonlySet<string> = new Set(["PlacementMade", "PlacementWithdrawn", "JobRetried", "TaskSettled", "JobSettled"])

/** Whether a fact of this name changes what runs. */
export const changesPlacements = (name: string): boolean => heardNames.has(name)

/** Takes in one fact of the scheduler; answers the attempt that was begun by it under a grant. */
export const hearPlacement = (placements: Placements, { event, partOf }: Pick<Fact, "event" | "partOf">): Placed | undefined => {
  switch (event._tag) {
    case "PlacementMade": {
      const { attempt, attemptId, hostId, jobId, task, warrant: { grantPath, warrantId }, workspace } = event
      const leaf = grantPath.at(-1)
      if (leaf === undefined) return undefined
      const placed = { attempt, attemptId, hostId, jobId, ...(task === undefined ? {} : { task }), workspace, warrantId, leaf, partOf }
      keep(placements, placed)
      return placed
    }
    case "PlacementWithdrawn":
      forget(placements, event.attemptId)
      return undefined
    case "JobRetried":
      forgetOf(placements, event.jobId, ({ attempt, task }) => task === event.task && attempt === event.failedAttempt)
      return undefined
    case "TaskSettled":
      forgetOf(placements, event.jobId, ({ task }) => task === event.task)
      return undefined
    case "JobSettled":
      forgetOf(placements, event.jobId, () => true)
      return undefined
    default:
      return undefined
  }
}

/** What hosts are told when a grant under which something runs does not hold: once for each attempt. */
export const withdrawals = ({ grounds, unbound, view }: Registry, placed: Iterable<Placed>, atMs: number): ReadonlyArray<{ readonly placed: Placed; readonly fact: WarrantRevoked }> => {
  const told: Array<{ readonly placed: Placed; readonly fact: WarrantRevoked }> = []
  for (const one of placed) {
    const { attempt, attemptId, hostId, jobId, task, warrantId, workspace } = one
    if (view.warrants.get(warrantId)?.revoked === true) continue
    const broken = brokenLink(view, one.leaf, atMs)
    if (broken === undefined) continue
    const ground = grounds.get(broken.grantId)
    const issuer = view.grants.get(broken.grantId)?.issuer
    const because = broken.rule === "issuer-without-role" && issuer !== undefined
      ? unbound.get(unboundKey(workspace, issuer)) ?? ground?.made
      : broken.rule === "link-revoked" || broken.rule === "link-suspended"
      ? ground?.taken ?? ground?.made
      : ground?.made
    if (because === undefined) continue
    told.push({ placed: one, fact: { _tag: "WarrantRevoked", warrantId, hostId, workspace, jobId, attempt, attemptId, because, ...(task === undefined ? {} : { task }) } })
  }
  return told
}

/** Everything that runs under a grant that does not hold. Looks at each such grant once, not at each attempt. */
export const underBroken = ({ view }: Registry, { byAttempt, byGrant }: Placements, atMs: number): ReadonlyArray<Placed> =>
  [...byGrant].flatMap(([leaf, attempts]) =>
    brokenLink(view, leaf, atMs) === undefined ? [] : [...attempts].flatMap((attempt) => byAttempt.get(attempt) ?? []))

/** When the next grant ends under which something runs. */
export const nextEnd = ({ view }: Registry, { byGrant }: Placements, atMs: number): number | undefined => {
  let next: number | undefined
  for (const leaf of byGrant.keys()) {
    const end = endOf(view, leaf)
    if (end !== undefined && end > atMs && (next === undefined || end < next)) next = end
  }
  return next
}

const setIn = <K, V>(map: Map<K, Set<V>>, key: K): Set<V> => {
  const known = map.get(key) ?? new Set<V>()
  map.set(key, known)
  return known
}

const forgetOf = (placements: Placements, jobId: JobId, which: (placed: Placed) => boolean): void => {
  for (const attempt of placements.byJob.get(jobId) ?? []) {
    const placed = placements.byAttempt.get(attempt)
    if (placed !== undefined && which(placed)) forget(placements, attempt)
  }
}

const forget = ({ byAttempt, byGrant, byJob }: Placements, attempt: AttemptId): void => {
  const placed = byAttempt.get(attempt)
  if (placed === undefined) return
  byAttempt.delete(attempt)
  drop(byJob, placed.jobId, attempt)
  drop(byGrant, placed.leaf, attempt)
}

const drop = <K, V>(map: Map<K, Set<V>>, key: K, value: V): void => {
  map.get(key)?.delete(value)
  if (map.get(key)?.size === 0) map.delete(key)
}
