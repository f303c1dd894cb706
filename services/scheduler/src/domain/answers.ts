import type { AskRefused, MillFact, PriorityAsked, QuotaAsked, Subject } from "@millrace/schemas"
import { priorityIn } from "./quotas.ts"
import type { Saying } from "./saying.ts"
import { type Asked, isFrozen, type World } from "./world.ts"

/** How many cohorts may stand above one another. */
const depthMax = 8

/**
 * Answers what people ask of the scheduler, each ask with exactly one fact that carries `answers`: of quotas one a
 * round, because the next may mean something else behind it; of a job's priority one a job. Gives whether any of it
 * changes who is due what.
 */
export const answer = (world: World, saying: Saying): boolean => {
  const touched = new Set<string>()
  let changes = false
  for (const asked of [...world.asks.values()].sort((left, right) => (left.factId < right.factId ? -1 : 1))) {
    const about = asked.ask._tag === "QuotaAsked" ? "quotas" : asked.ask.jobId
    if (touched.has(about)) continue
    touched.add(about)
    const said = asked.ask._tag === "QuotaAsked" ? ofQuota(world, asked.ask) : ofPriority(world, asked.ask)
    if (said === undefined) continue
    say(asked, said, saying)
    changes ||= said.event._tag !== "AskRefused" && said.event._tag !== "AskFoundDone"
  }
  return changes
}

interface Answer {
  readonly subject: Subject
  readonly event: MillFact
}

const say = ({ factId, partOf }: Asked, { event, subject }: Answer, saying: Saying): void => saying.say(subject, { event, partOf, causedBy: factId })

const quotas: Subject = { kind: "quota", scope: "cell" }

const ofQuota = (world: World, asked: QuotaAsked): Answer => {
  const { askedBy, askId, node, terms, workspace } = asked
  const known = world.quotas.get(node)
  if (terms === undefined) {
    return known === undefined
      ? done(asked, `nothing is said of ${node}`)
      : { subject: quotas, event: { _tag: "QuotaLifted", node, liftedBy: askedBy, workspace, answers: askId } }
  }
  if (known !== undefined && canonical(known) === canonical(terms)) return done(asked, `${node} is due this already`)
  const dimensions = terms.limits.map(({ dimension }) => dimension)
  const twice = dimensions.find((dimension, at) => dimensions.indexOf(dimension) !== at)
  if (twice !== undefined) return refused(asked, "invalid", `${twice} is limited twice`, "state one limit for each dimension")
  if (node.startsWith("cohort/") && (terms.priorityDefault !== undefined || terms.priorityMax !== undefined)) {
    return refused(asked, "invalid", "jobs are submitted in workspaces, and a cohort has no priority", "say it of each workspace")
  }
  const above: Array<string> = []
  for (let at = terms.parent; at !== undefined && above.length <= depthMax; at = world.quotas.get(at)?.parent) above.push(at)
  if (above.includes(node)) return refused(asked, "invalid", `${node} would stand above itself: ${above.slice(0, above.indexOf(node) + 1).join(" below ")}`, "name a cohort that does not stand below it")
  if (above.length > depthMax) return refused(asked, "invalid", `cohorts stand at most ${depthMax} deep`, "name one further up as its parent")
  return { subject: quotas, event: { _tag: "QuotaSet", node, terms, setBy: askedBy, workspace, answers: askId } }
}

const ofPriority = (world: World, asked: PriorityAsked): Answer | undefined => {
  const { askedBy, askId, jobId, priority, workspace } = asked
  const job = world.jobs.get(jobId)
  if (world.outcomes.get(jobId)?.workspace === workspace) return refused(asked, "over", "the job is over", "its priority matters to nothing any more")
  if (job?.submitted?.fact.workspace !== workspace) return refused(asked, "unknown", "there is no such job in this workspace", "see those there are at /v1/jobs")
  if (isFrozen(world, job)) return undefined
  if (priorityIn(world, job).own === priority && job.priority !== undefined) return done(asked, `its priority is ${priority} already`)
  return { subject: { kind: "schedule", scope: workspace }, event: { _tag: "PriorityChanged", jobId, workspace, priority, changedBy: askedBy, answers: askId } }
}

const canonical = (terms: NonNullable<QuotaAsked["terms"]>): string => {
  const { limits, parent, priorityDefault, priorityMax, weight = 1 } = terms
  return JSON.stringify([parent, weight, priorityDefault, priorityMax, limits.map(({ borrowingMax, dimension, lendingMax, nominal }) => [dimension, nominal, borrowingMax ?? null, lendingMax ?? null]).sort()])
}

const refused = ({ askId, workspace }: QuotaAsked | PriorityAsked, reason: AskRefused["reason"], detail: string, remedy: string): Answer => ({
  subject: answers(workspace),
  event: { _tag: "AskRefused", answers: askId, workspace, reason, detail, remedy }
})

const done = ({ askId, workspace }: QuotaAsked | PriorityAsked, detail: string): Answer => ({
  subject: answers(workspace),
  event: { _tag: "AskFoundDone", answers: askId, workspace, detail }
})

const answers = (workspace: string): Subject => ({ kind: "answer", scope: "scheduler", story: workspace })
