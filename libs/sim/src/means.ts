import type { AttemptId, Constraints, GrantId, JobId } from "@millrace/schemas"
import type { Checker } from "./checkers.ts"
import { endsOf, factsIn, type History, seenBy } from "./history.ts"

/** At no point of metering's order is more of an account committed and lent than its limit of then. */
const withinLimits: Checker = (history) => {
  const broken: Array<string> = []
  const limit = new Map<string, bigint>()
  const used = new Map<string, bigint>()
  const out = new Map<string, bigint>()
  const add = (sums: Map<string, bigint>, key: string, pico: bigint) => sums.set(key, (sums.get(key) ?? 0n) + pico)
  for (const { commit, event } of factsIn(history, "METERING", "BudgetOpened", "LimitChanged", "SliceLeased", "SliceReturned", "SpendCommitted")) {
    switch (event._tag) {
      case "BudgetOpened":
        limit.set(event.account, event.terms.limitPico)
        break
      case "LimitChanged":
        limit.set(event.account, event.limitPico)
        break
      case "SliceLeased":
        add(used, event.account, event.amountPico)
        add(out, event.slice, event.amountPico)
        if (used.get(event.account)! > (limit.get(event.account) ?? 0n)) {
          broken.push(`${event.account} has ${used.get(event.account)} committed and lent at METERING ${commit.place.sequence}, of ${limit.get(event.account) ?? 0n}`)
        }
        break
      case "SliceReturned":
        add(used, event.account, -event.amountPico)
        add(out, event.slice, -event.amountPico)
        break
      case "SpendCommitted":
        add(out, event.slice, -event.amountPico)
    }
    if ("slice" in event && (out.get(event.slice) ?? 0n) < 0n) broken.push(`${event.slice} is spent beyond what was lent at METERING ${commit.place.sequence}`)
  }
  return broken
}

/** In the end each attempt that was placed with a share is charged once, and never more than that. */
const chargedOnce: Checker = (history) => {
  const broken: Array<string> = []
  const shares = new Map<AttemptId, bigint>()
  for (const { event: { attemptId, share } } of factsIn(history, "SCHEDULER", "PlacementMade")) if (share !== undefined) shares.set(attemptId, share.amountPico)
  const charged = new Set<AttemptId>()
  for (const { event: { amountPico, attemptId } } of factsIn(history, "METERING", "SpendCommitted")) {
    if (charged.has(attemptId)) broken.push(`${attemptId} was charged twice`)
    charged.add(attemptId)
    const share = shares.get(attemptId)
    if (share === undefined) broken.push(`${attemptId} was charged, and nobody placed it with a share`)
    else if (amountPico < 0n || amountPico > share) broken.push(`${attemptId} was charged ${amountPico} of ${share}`)
  }
  for (const attemptId of shares.keys()) if (!charged.has(attemptId)) broken.push(`${attemptId} was never charged`)
  return broken
}

/** What of a slice is promised is never more than was lent of it and not spent, as the scheduler had heard. */
const promisedOnce: Checker = (history) => {
  const broken: Array<string> = []
  const seen = seenBy(history, "METERING")
  const lent = new Map<string, { readonly at: number; readonly pico: bigint }>()
  for (const { commit, event } of factsIn(history, "METERING", "SliceLeased")) lent.set(event.slice, { at: commit.place.sequence, pico: event.amountPico })
  const costs = costsOf(history)
  const shares: Array<{ readonly attemptId: AttemptId; readonly slice: string; readonly pico: bigint }> = []
  for (const { commit, event: { attemptId, share } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    if (share === undefined) continue
    shares.push({ attemptId, slice: share.slice, pico: share.amountPico })
    const slice = lent.get(share.slice)
    const taken = shares.filter((one) => one.slice === share.slice).reduce((sum, one) => sum + costs.upTo(one, seen(commit)), 0n)
    if (slice === undefined || slice.at > seen(commit)) broken.push(`${attemptId} took a share of ${share.slice}, of which nothing had been heard`)
    else if (taken > slice.pico) broken.push(`${taken} of ${share.slice} were promised and spent at SCHEDULER ${commit.place.sequence}, and ${slice.pico} were lent`)
  }
  return broken
}

const costsOf = (history: History) => {
  const costs = new Map<AttemptId, { readonly at: number; readonly pico: bigint }>()
  for (const { commit, event: { amountPico, attemptId } } of factsIn(history, "METERING", "SpendCommitted")) {
    if (!costs.has(attemptId)) costs.set(attemptId, { at: commit.place.sequence, pico: amountPico })
  }
  return {
    /** What an attempt takes: what it cost, once that was heard, and its share before. */
    upTo: ({ attemptId, pico }: { readonly attemptId: AttemptId; readonly pico: bigint }, sequence: number): bigint => {
      const cost = costs.get(attemptId)
      return cost !== undefined && cost.at <= sequence ? cost.pico : pico
    }
  }
}

/** Grants with limits that are counted exactly, by id. */
const limitedGrants = (history: History): ReadonlyMap<GrantId, Constraints> =>
  new Map(factsIn(history, "ACCESS", "GrantIssued", "GrantDelegated").map(({ event: { grantId, reach } }) => [grantId, reach.constraints]))

/** No grant has more tasks begun, more attempts under way or more money spent and promised than it allows, those below it included. */
const withinGrants: Checker = (history) => {
  const broken: Array<string> = []
  const grants = limitedGrants(history)
  const sizes = new Map<JobId, number>()
  for (const { event: { jobId, spec: { array, gang } } } of factsIn(history, "GATEWAY", "JobSubmitted")) sizes.set(jobId, gang?.members ?? array?.tasks ?? 1)
  const ends = endsOf(history)
  const seenHosts = seenBy(history)
  const seenMetering = seenBy(history, "METERING")
  const costs = costsOf(history)
  const begun = new Map<GrantId, Set<JobId>>()
  const underWay = new Map<GrantId, Map<string, AttemptId>>()
  const spent = new Map<GrantId, Array<{ readonly attemptId: AttemptId; readonly pico: bigint }>>()
  for (const { commit, event } of factsIn(history, "SCHEDULER", "PlacementMade", "JobRetried", "TaskSettled", "JobSettled")) {
    if (event._tag !== "PlacementMade") {
      for (const attempts of underWay.values()) attempts.delete(turnOf(event, event._tag === "JobRetried" ? event.failedAttempt : event.attempt))
      continue
    }
    const where = `at SCHEDULER ${commit.place.sequence}`
    for (const grant of event.warrant.grantPath) {
      const { concurrencyMax, spendPicoMax, usesMax } = grants.get(grant) ?? {}
      const jobs = (begun.get(grant) ?? new Set<JobId>()).add(event.jobId)
      begun.set(grant, jobs)
      const uses = [...jobs].reduce((sum, jobId) => sum + (sizes.get(jobId) ?? 0), 0)
      if (usesMax !== undefined && uses > usesMax) broken.push(`${grant} was used ${uses} times of ${usesMax} ${where}`)
      const attempts = underWay.get(grant) ?? new Map<string, AttemptId>()
      underWay.set(grant, attempts)
      for (const [turn, attemptId] of attempts) if ((ends.get(attemptId) ?? Number.POSITIVE_INFINITY) <= seenHosts(commit)) attempts.delete(turn)
      attempts.set(turnOf(event, event.attempt), event.attemptId)
      if (concurrencyMax !== undefined && attempts.size > concurrencyMax) broken.push(`${grant} has ${attempts.size} under way of ${concurrencyMax} ${where}`)
      if (event.share === undefined) continue
      const shares = spent.get(grant) ?? []
      spent.set(grant, shares)
      shares.push({ attemptId: event.attemptId, pico: event.share.amountPico })
      const pico = shares.reduce((sum, share) => sum + costs.upTo(share, seenMetering(commit)), 0n)
      if (spendPicoMax !== undefined && pico > spendPicoMax) broken.push(`${grant} has ${pico} spent and promised of ${spendPicoMax} ${where}`)
    }
  }
  return broken
}

const turnOf = ({ jobId, task }: { readonly jobId: JobId; readonly task?: number | undefined }, attempt: number): string => `${jobId} ${task ?? ""} ${attempt}`

/** Nothing is placed under a grant by whoever has seen that it was revoked. */
const revocationsHold: Checker = (history) => {
  const broken: Array<string> = []
  const seen = seenBy(history, "ACCESS")
  const revoked = new Map<GrantId, number>()
  for (const { commit, event: { grantId } } of factsIn(history, "ACCESS", "GrantRevoked")) revoked.set(grantId, commit.place.sequence)
  for (const { commit, event: { attemptId, warrant: { grantPath } } } of factsIn(history, "SCHEDULER", "PlacementMade")) {
    const gone = grantPath.find((grant) => (revoked.get(grant) ?? Number.POSITIVE_INFINITY) <= seen(commit))
    if (gone !== undefined) broken.push(`${attemptId} was placed under ${gone}, which was seen to be revoked`)
  }
  return broken
}

/** Laws of money and of delegated authority. */
export const lawsOfMeans: Readonly<Record<string, Checker>> = {
  "no account is committed and lent beyond its limit": withinLimits,
  "each attempt with a share is charged once, within it": chargedOnce,
  "no part of a slice is promised twice": promisedOnce,
  "no grant is used, run or spent beyond its limits": withinGrants,
  "a revocation that was seen holds": revocationsHold
}
