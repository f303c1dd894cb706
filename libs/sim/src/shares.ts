import type { AttemptId, JobId, QuotaTerms, Resources, WorkspaceName } from "@millrace/schemas"
import { priorityClasses } from "@millrace/schemas"
import type { Checker } from "./checkers.ts"
import { endsOf, factsIn, type History, seenBy, taskOf } from "./history.ts"

/** Nothing gives way before it has run this long, in ms, as decisions tell the time. */
const sparedMs = 60_000

type Amounts = Readonly<Record<string, number>>

const amountsOf = ({ cpuMilli, gpuMilli = 0, gpus, memoryMib }: Resources): Amounts => ({ cpuMilli, memoryMib, gpuMilli: gpus * 1_000 + gpuMilli })

interface Running {
  readonly attemptId: AttemptId
  readonly jobId: JobId
  readonly workspace: WorkspaceName
  readonly amounts: Amounts
  readonly atMs: number
}

interface Moment {
  readonly running: ReadonlyMap<string, Running>
  readonly quotas: ReadonlyMap<string, QuotaTerms>
  readonly urgency: ReadonlyMap<JobId, number>
  /** What jobs have kept for themselves while hosts are held for them: a piece a host, or a whole gang. */
  readonly kept: ReadonlyArray<{ readonly workspace: WorkspaceName; readonly amounts: Amounts }>
}

/** Walks the cell's order. What is told at each of its facts holds right before it. */
const walk = (history: History, tell: (fact: ReturnType<typeof factsOf>[number], moment: Moment) => void): void => {
  const ends = endsOf(history)
  const seen = seenBy(history)
  const submitted = new Map(factsIn(history, "GATEWAY", "JobSubmitted").map(({ event }) => [event.jobId, event]))
  const running = new Map<string, Running>()
  const quotas = new Map<string, QuotaTerms>()
  const urgency = new Map<JobId, number>()
  const kept = new Map<JobId, Moment["kept"][number]>()
  for (const { jobId, spec: { priority } } of submitted.values()) if (priority !== undefined) urgency.set(jobId, priority)
  for (const fact of factsOf(history)) {
    const { commit, event } = fact
    for (const [name, { attemptId }] of running) if ((ends.get(attemptId) ?? Number.POSITIVE_INFINITY) <= seen(commit)) running.delete(name)
    tell(fact, { running, quotas, urgency, kept: [...kept.values()] })
    switch (event._tag) {
      case "QuotaSet":
        quotas.set(event.node, event.terms)
        break
      case "QuotaLifted":
        quotas.delete(event.node)
        break
      case "PriorityChanged":
        urgency.set(event.jobId, event.priority)
        break
      case "PlacementMade":
        kept.delete(event.jobId)
        running.set(taskOf(event), { ...event, amounts: amountsOf(event.spec.resources), atMs: commit.happenedAtMs })
        break
      case "JobDeferred": {
        const spec = submitted.get(event.jobId)?.spec
        kept.delete(event.jobId)
        if (spec !== undefined && event.heldOn !== undefined) kept.set(event.jobId, { workspace: event.workspace, amounts: times(amountsOf(spec.resources), spec.gang?.members ?? event.heldOn.length) })
        break
      }
      case "JobRetried":
      case "TaskSettled":
        running.delete(taskOf(event))
        break
      case "JobSettled":
      case "JobRefused":
        kept.delete(event.jobId)
        running.delete(event.jobId)
        break
      case "PlacementWithdrawn":
        break
    }
  }
}

const factsOf = (history: History) =>
  factsIn(history, "SCHEDULER", "PlacementMade", "PlacementWithdrawn", "JobRetried", "JobDeferred", "JobRefused", "TaskSettled", "JobSettled", "QuotaSet", "QuotaLifted", "PriorityChanged")

const times = (amounts: Amounts, by: number): Amounts => Object.fromEntries(Object.entries(amounts).map(([dimension, amount]) => [dimension, amount * by]))

const heldBy = (running: Iterable<{ readonly workspace: WorkspaceName; readonly amounts: Amounts }>, workspace: string, dimension: string): number => {
  let held = 0
  for (const one of running) if (one.workspace === workspace) held += one.amounts[dimension] ?? 0
  return held
}

const limitOf = (quotas: Moment["quotas"], node: string, dimension: string) => quotas.get(node)?.limits.find((limit) => limit.dimension === dimension)

/** What a workspace may still take of a dimension, of those that share one cohort or stand alone: by the terms alone. */
const leftFor = ({ quotas, running }: Moment, workspace: string, dimension: string): number => {
  const name = `workspace/${workspace}`
  const parent = quotas.get(name)?.parent
  const siblings = parent === undefined ? [name] : [...quotas].flatMap(([node, terms]) => (terms.parent === parent ? [node] : []))
  const limited = [...siblings, ...parent === undefined ? [] : [parent]].some((node) => limitOf(quotas, node, dimension) !== undefined)
  if (!limited) return Number.POSITIVE_INFINITY
  const of = (node: string) => {
    const { borrowingMax = Number.POSITIVE_INFINITY, lendingMax, nominal = 0 } = limitOf(quotas, node, dimension) ?? {}
    const held = heldBy(running.values(), node.slice("workspace/".length), dimension)
    const kept = parent === undefined ? nominal : Math.max(0, nominal - (lendingMax ?? nominal))
    return { borrowingMax, nominal, kept, held, beyond: Math.max(0, held - kept) }
  }
  const own = of(name)
  const left = Math.max(0, own.kept - own.held)
  if (parent === undefined) return own.nominal - own.held
  const pool = siblings.map(of).reduce((sum, { beyond, kept, nominal }) => sum + nominal - kept - beyond, limitOf(quotas, parent, dimension)?.nominal ?? 0)
  return left + Math.min(pool, own.nominal - own.kept - own.beyond + own.borrowingMax)
}

/** Nothing is placed beyond what its workspace is due, borrows and is lent. */
const withinQuotas: Checker = (history) => {
  const broken: Array<string> = []
  walk(history, ({ commit, event }, moment) => {
    if (event._tag !== "PlacementMade") return
    for (const [dimension, amount] of Object.entries(amountsOf(event.spec.resources))) {
      const left = amount === 0 ? 0 : leftFor(moment, event.workspace, dimension)
      if (amount > left) broken.push(`${event.workspace} took ${amount} ${dimension} at SCHEDULER ${commit.place.sequence}, and ${left} were left for it`)
    }
  })
  return broken
}

/**
 * Who gives way stands lower: in its own workspace it is less urgent; in another one its workspace takes more than it is
 * due of something that it uses, and no guaranteed work is touched.
 */
const lowerGivesWay: Checker = (history) => {
  const broken: Array<string> = []
  walk(history, ({ commit, event }, moment) => {
    if (event._tag !== "PlacementWithdrawn" || event.by === undefined) return
    const where = `${taskOf(event)} gave way to ${event.by.jobId} at SCHEDULER ${commit.place.sequence}`
    const ownOf = (jobId: JobId, workspace: string) => moment.urgency.get(jobId) ?? moment.quotas.get(`workspace/${workspace}`)?.priorityDefault ?? priorityClasses.normal
    const own = ownOf(event.jobId, event.workspace)
    if (event.by.workspace === event.workspace) {
      if (event.by.priority <= own) broken.push(`${where}: both are of ${event.workspace}, and ${event.by.priority} is no more urgent than ${own}`)
      return
    }
    const all = [...moment.running.values(), ...moment.kept]
    const uses = Object.entries(moment.running.get(taskOf(event))?.amounts ?? {}).filter(([, amount]) => amount > 0)
    const due = uses.flatMap(([dimension]) => {
      const nominal = limitOf(moment.quotas, `workspace/${event.workspace}`, dimension)?.nominal
      return nominal === undefined ? [] : [{ nominal, dimension }]
    })
    const beyond = due.length === 0 || due.some(({ dimension, nominal }) => heldBy(all, event.workspace, dimension) > nominal)
    if (!beyond) broken.push(`${where}, and all that ${event.workspace} runs lies within what it is due: ${due.map(({ dimension, nominal }) => `${heldBy(all, event.workspace, dimension)} of ${nominal} ${dimension}`).join(", ")}`)
  })
  return broken
}

/** Nothing gives way that has run for less than a minute, and no attempt gives way twice. */
const theYoungAreSpared: Checker = (history) => {
  const broken: Array<string> = []
  const told = new Set<AttemptId>()
  walk(history, ({ commit, event }, { running }) => {
    if (event._tag !== "PlacementWithdrawn" || event.by === undefined) return
    const began = running.get(taskOf(event))
    if (told.has(event.attemptId)) broken.push(`${event.attemptId} gave way twice`)
    told.add(event.attemptId)
    if (began?.attemptId === event.attemptId && commit.happenedAtMs - began.atMs < sparedMs) broken.push(`${event.attemptId} gave way after ${commit.happenedAtMs - began.atMs} ms`)
  })
  return broken
}

/**
 * Giving way comes to an end. In one workspace the order is strict, so nobody gives way to whom it made give way, as
 * long as no priority changed; and all together it happens no more often than work was begun.
 */
const givingWayEnds: Checker = (history) => {
  const broken: Array<string> = []
  const changed = new Set(factsIn(history, "SCHEDULER", "PriorityChanged").map(({ event }) => event.jobId))
  const pairs = new Set<string>()
  let times = 0
  for (const { event } of factsIn(history, "SCHEDULER", "PlacementWithdrawn")) {
    if (event.by === undefined) continue
    times += 1
    if (event.by.workspace !== event.workspace || changed.has(event.jobId) || changed.has(event.by.jobId)) continue
    pairs.add(`${event.jobId} ${event.by.jobId}`)
    if (pairs.has(`${event.by.jobId} ${event.jobId}`)) broken.push(`${event.jobId} and ${event.by.jobId} gave way to each other`)
  }
  const tasks = factsIn(history, "GATEWAY", "JobSubmitted").reduce((sum, { event: { spec: { array, gang } } }) => sum + (gang?.members ?? array?.tasks ?? 1), 0)
  if (times > tasks * 4) broken.push(`${tasks} pieces of work gave way ${times} times`)
  return broken
}

/** What fits an empty cluster is never refused for its size. */
const nothingThatFitsIsRefused: Checker = (history) =>
  factsIn(history, "SCHEDULER", "JobRefused").flatMap(({ event: { jobId, reason, remedy } }) => (reason === "never_fits" || reason === "not_isolated" ? [`${jobId} was refused (${reason}): ${remedy}`] : []))

/** Laws of what is shared out, and of who gives way. */
export const lawsOfShares: Readonly<Record<string, Checker>> = {
  "nobody takes beyond its quota": withinQuotas,
  "only what stands lower gives way": lowerGivesWay,
  "what has just begun is spared": theYoungAreSpared,
  "giving way comes to an end": givingWayEnds,
  "nothing that fits an empty cluster is refused": nothingThatFitsIsRefused
}
