import type { AccountId, AttemptId, GrantId, JobId, MillFact } from "@millrace/schemas"
import type { Heard } from "./watched-log.ts"

/** All that was said, each stream in its order. */
export type History = ReadonlyArray<Heard>

/** What must be true of every history, whatever died meanwhile: sentences about what is not. */
export type Law = (history: History) => ReadonlyArray<string>

type Named<Name extends MillFact["_tag"]> = Heard<Extract<MillFact, { readonly _tag: Name }>>

const of = <Name extends MillFact["_tag"]>(history: History, ...names: ReadonlyArray<Name>): ReadonlyArray<Named<Name>> =>
  history.filter(({ event }) => (names as ReadonlyArray<string>).includes(event._tag)) as unknown as ReadonlyArray<Named<Name>>

const groups = <A, K>(all: ReadonlyArray<A>, keyOf: (one: A) => K): ReadonlyMap<K, ReadonlyArray<A>> => {
  const found = new Map<K, Array<A>>()
  for (const one of all) {
    const key = keyOf(one)
    const group = found.get(key)
    if (group === undefined) found.set(key, [one])
    else group.push(one)
  }
  return found
}

const taskOf = ({ jobId, task }: { readonly jobId: JobId; readonly task?: number }): string => task === undefined ? jobId : `${jobId} task ${task}`

const byAttempt = <A extends { readonly event: { readonly attemptId: AttemptId } }>(all: ReadonlyArray<A>) => groups(all, ({ event }) => event.attemptId)

/** What the log acknowledged is over, once. */
export const settledOnce: Law = (history) => {
  const ends = groups(of(history, "JobSettled"), ({ event }) => event.jobId)
  return of(history, "JobSubmitted").flatMap(({ event: { jobId } }) => {
    const times = ends.get(jobId)?.length ?? 0
    return times === 1 ? [] : [`${jobId} is settled ${times} times`]
  })
}

/** A host says once that an attempt started, and once how it ended; and it ended if it started. */
export const livedOnce: Law = (history) => {
  const starts = byAttempt(of(history, "AttemptStarted"))
  const ends = byAttempt(of(history, "AttemptExited", "AttemptRefused"))
  return [
    ...[...starts].flatMap(([id, all]) => all.length === 1 ? [] : [`${id} started ${all.length} times`]),
    ...[...ends].flatMap(([id, all]) => all.length === 1 ? [] : [`${id} ended ${all.length} times`])
  ]
}

/** How a job is said to have ended is how its last attempt ended, by the host's own word. */
export const endedTruly: Law = (history) => {
  const exits = byAttempt(of(history, "AttemptExited"))
  return of(history, "JobSettled", "TaskSettled").flatMap(({ event }) => {
    if (event._tag === "JobSettled" && event.tasks !== undefined) return []
    const exit = event.attemptId === undefined ? undefined : exits.get(event.attemptId)?.[0]?.event
    const wellEnded = exit !== undefined && exit.cause === "exited" && exit.code === 0
    if (event.outcome === "succeeded" && !wellEnded) return [`${taskOf(event)} succeeded, and attempt ${event.attempt} did not`]
    if (event.outcome === "failed" && wellEnded) return [`${taskOf(event)} failed, and attempt ${event.attempt} succeeded`]
    return []
  })
}

/**
 * The next attempt of a task is placed only behind the word of the one before it, or, where its host was
 * lost, behind the longest that it could run on without hearing from us.
 */
export const neverTwoAtOnce = (leaseMs: number): Law => (history) => {
  const ends = byAttempt(of(history, "AttemptExited", "AttemptRefused"))
  const losses = groups(of(history, "HostDeclaredLost"), ({ event }) => event.hostId)
  const retries = groups(of(history, "JobRetried"), ({ event }) => `${taskOf(event)} ${event.failedAttempt}`)
  return [...groups(of(history, "PlacementMade"), ({ event }) => taskOf(event))].flatMap(([task, placements]) =>
    placements.flatMap((placement, index) => {
      const before = placements[index - 1]
      if (before === undefined) return placement.event.attempt === 1 ? [] : [`${task} begins with attempt ${placement.event.attempt}`]
      const name = `attempt ${placement.event.attempt} of ${task}`
      if (placement.event.attempt !== before.event.attempt + 1) return [`${name} follows attempt ${before.event.attempt}`]
      const retry = retries.get(`${task} ${before.event.attempt}`)?.[0]
      if (retry === undefined || retry.sequence > placement.sequence) return [`${name} is placed though nothing was said of the one before it`]
      if (retry.event.lost !== true) {
        const end = ends.get(before.event.attemptId)?.[0]
        return end !== undefined && end.sequence <= (retry.decided?.saw["HOSTS"] ?? 0) ? [] : [`${name} is placed before the one before it has ended`]
      }
      const loss = losses.get(before.event.hostId)?.findLast(({ sequence }) => sequence <= retry.sequence)
      if (loss === undefined) return [`${name} is placed because ${before.event.hostId} was lost, and it was not`]
      const overAtMs = loss.event.lastHeardAtMs + Math.max(leaseMs, before.event.spec.onSilence.keepMs)
      const placedAtMs = placement.decided?.decidedAtMs ?? 0
      return placedAtMs > overAtMs ? [] : [`${name} is placed ${overAtMs - placedAtMs} ms before the lease of the one before it is over`]
    }))
}

/** Every attempt has its share, and is charged once and no more than that. */
export const chargedOnce: Law = (history) => {
  const spent = byAttempt(of(history, "SpendCommitted"))
  const placed = byAttempt(of(history, "PlacementMade"))
  return [
    ...[...placed].flatMap(([id, [placement]]) => {
      const share = placement!.event.share
      const charges = spent.get(id) ?? []
      if (share === undefined) return [`${id} was placed without a share`]
      if (charges.length !== 1) return [`${id} is charged ${charges.length} times`]
      const { account, amountPico, slice } = charges[0]!.event
      if (account !== share.account || slice !== share.slice) return [`${id} is charged to another slice than it was promised from`]
      return amountPico <= share.amountPico ? [] : [`${id} is charged ${amountPico}, and ${share.amountPico} was promised`]
    }),
    ...[...spent.keys()].flatMap((id) => placed.has(id) ? [] : [`${id} is charged and was never placed`])
  ]
}

/** At no moment is more committed and lent from an account, with all below it, than its limit. */
export const withinLimits: Law = (history) => {
  const accounts = new Map<AccountId, { readonly parent: AccountId | undefined; limitPico: bigint; outPico: bigint }>()
  const change = (account: AccountId | undefined, pico: bigint): ReadonlyArray<string> => {
    const kept = account === undefined ? undefined : accounts.get(account)
    if (kept === undefined) return []
    kept.outPico += pico
    return [...(kept.outPico > kept.limitPico ? [`${account} holds ${kept.outPico} of ${kept.limitPico}`] : []), ...change(kept.parent, pico)]
  }
  return of(history, "BudgetOpened", "LimitChanged", "SliceLeased", "SliceReturned").flatMap(({ event, sequence }) => {
    if (event._tag === "BudgetOpened") accounts.set(event.account, { parent: event.terms.parent, limitPico: event.terms.limitPico, outPico: 0n })
    else if (event._tag === "LimitChanged") accounts.get(event.account)!.limitPico = event.limitPico
    // What is committed was lent before: it moves from one to the other, and the sum stays.
    else return change(event.account, event._tag === "SliceLeased" ? event.amountPico : -event.amountPico).map((said) => `METERING ${sequence}: ${said}`)
    return []
  })
}

/** From no slice is more promised than it holds: what an attempt costs less than its share is free again. */
export const withinSlices: Law = (history) => {
  const slices = new Map<string, bigint>()
  for (const { event } of of(history, "SliceLeased")) slices.set(event.slice, (slices.get(event.slice) ?? 0n) + event.amountPico)
  const spent = new Map<string, bigint>()
  return of(history, "SpendCommitted", "SliceReturned").flatMap(({ event, sequence }) => {
    const sum = (spent.get(event.slice) ?? 0n) + event.amountPico
    spent.set(event.slice, sum)
    return sum > (slices.get(event.slice) ?? 0n) ? [`METERING ${sequence}: ${sum} came of ${event.slice}, which held ${slices.get(event.slice) ?? 0n}`] : []
  })
}

/** Under no grant run more attempts at once, nor are more tasks begun, than it allows. */
export const withinGrants: Law = (history) => {
  const limits = new Map(of(history, "GrantIssued", "GrantDelegated").map(({ event: { grantId, reach } }) => [grantId, reach.constraints] as const))
  const running = new Map<GrantId, Set<string>>()
  const begun = new Map<GrantId, Set<string>>()
  const pathOf = new Map<string, ReadonlyArray<GrantId>>()
  const added = (sets: Map<GrantId, Set<string>>, grant: GrantId, one: string): number => {
    const set = sets.get(grant) ?? new Set()
    sets.set(grant, set.add(one))
    return set.size
  }
  return of(history, "PlacementMade", "JobRetried", "TaskSettled", "JobSettled").flatMap(({ event, sequence }) => {
    const task = taskOf(event as { readonly jobId: JobId; readonly task?: number })
    if (event._tag !== "PlacementMade") {
      for (const grant of pathOf.get(task) ?? []) running.get(grant)?.delete(task)
      return []
    }
    pathOf.set(task, event.warrant.grantPath)
    return event.warrant.grantPath.flatMap((grant) => {
      const { concurrencyMax = Infinity, usesMax = Infinity } = limits.get(grant) ?? {}
      const [now, ever] = [added(running, grant, task), added(begun, grant, task)]
      return [
        ...(now > concurrencyMax ? [`SCHEDULER ${sequence}: ${now} run under ${grant}, which allows ${concurrencyMax}`] : []),
        ...(ever > usesMax ? [`SCHEDULER ${sequence}: ${ever} began under ${grant}, which allows ${usesMax}`] : [])
      ]
    })
  })
}

/** One row of a bill, as metering's API gives it. */
export interface BillRow {
  readonly attemptId: string
  readonly phase: string
  readonly fromMs: number
  readonly ms: number
  readonly rates: string | null
  readonly amountPico: string
  readonly settled: boolean
}

/**
 * The rows of each attempt lie behind each other from its placement on, without a gap and without an overlap;
 * they sum up to its charge; what is charged for is as long as the host says that it ran; what was lost is free.
 */
export const billedOnce = (rows: ReadonlyArray<BillRow>): Law => (history) => {
  const bill = groups(rows, ({ attemptId }) => attemptId)
  const spent = byAttempt(of(history, "SpendCommitted"))
  const starts = byAttempt(of(history, "AttemptStarted"))
  const ends = byAttempt(of(history, "AttemptExited"))
  const givenUp = new Set(of(history, "JobRetried", "TaskSettled", "JobSettled").flatMap(({ event }) =>
    event._tag === "JobRetried" ? event.lost === true ? [`${taskOf(event)} ${event.failedAttempt}`] : [] : event.outcome === "lost" ? [`${taskOf(event)} ${event.attempt}`] : []))
  const known = new Set<string>(of(history, "PlacementMade").map(({ event }) => event.attemptId))
  return [
    ...rows.flatMap(({ attemptId }) => known.has(attemptId) ? [] : [`${attemptId} is billed and was never placed`]),
    ...of(history, "PlacementMade").flatMap(({ event, storedAtMs }) => {
      const { attempt, attemptId } = event
      const own = [...bill.get(attemptId) ?? []].sort((left, right) => left.fromMs - right.fromMs)
      let atMs = storedAtMs
      const torn = own.flatMap(({ fromMs, ms, phase }) => {
        const gap = fromMs - atMs
        atMs = fromMs + ms
        return gap === 0 ? [] : [`${attemptId} is billed for ${phase} from ${gap} ms ${gap > 0 ? "behind" : "before"} the end of what came before it`]
      })
      const sum = own.reduce((total, { amountPico }) => total + BigInt(amountPico), 0n)
      const charge = spent.get(attemptId)?.[0]?.event.amountPico ?? 0n
      const start = starts.get(attemptId)?.[0]?.event
      const end = ends.get(attemptId)?.[0]?.event
      const isLost = givenUp.has(`${taskOf(event)} ${attempt}`)
      const counted = own.reduce((total, { ms, rates }) => rates === null ? total : total + ms, 0)
      const ran = start !== undefined && end !== undefined && start.bootId === end.bootId && !isLost ? end.hostMs - start.hostMs : undefined
      return [
        ...torn,
        ...(sum === charge ? [] : [`${attemptId} is billed ${sum} and was charged ${charge}`]),
        ...(isLost && sum > 0n ? [`${attemptId} was lost and is billed ${sum}`] : []),
        ...(ran === undefined || ran === counted ? [] : [`${attemptId} ran for ${ran} ms and is billed for ${counted}: ${own.map(({ ms, phase }) => `${phase} ${ms}`).join(", ")}`]),
        ...(own.every(({ settled }) => settled) ? [] : [`${attemptId} is billed and not settled`])
      ]
    })
  ]
}
