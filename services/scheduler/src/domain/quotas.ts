import { isGpuOf, type MillFact, type QuotaTerms, type WorkspaceName } from "@millrace/schemas"
import { type Amounts, amountInWords, amountsOf, type Dimension, noAmounts, shift } from "./fair/amounts.ts"
import { type Priority, priorityOf } from "./fair/priority.ts"
import { type Limit, type OverQuota, QuotaLedger, type QuotaNode, QuotaTree } from "./fair/tree.ts"
import { mayTake } from "./fleet.ts"
import type { Heard, HostState, JobState, Placed, TaskState, World } from "./world.ts"

export const nodeOf = (workspace: WorkspaceName): string => `workspace/${workspace}`

/** What is said of quotas and asked of us. Gives whether it was that. */
export const evolveQuotas = (world: World, { event, id, partOf, stream }: Heard): boolean => {
  switch (event._tag) {
    case "QuotaSet":
      answered(world, event)
      setQuotas(world, [...world.quotas, [event.node, event.terms]])
      return true
    case "QuotaLifted":
      answered(world, event)
      setQuotas(world, [...world.quotas].filter(([node]) => node !== event.node))
      return true
    case "QuotaAsked":
    case "PriorityAsked":
      if (!world.answered.delete(event.askId)) world.asks.set(event.askId, { ask: event, factId: id, partOf })
      return true
    case "AskRefused":
    case "AskFoundDone":
      if (stream === "SCHEDULER") answered(world, event)
      return true
    default:
      return false
  }
}

/** An ask that has its answer needs none any more. Streams order nothing between them: the answer may be heard first. */
export const answered = (world: World, { answers }: { readonly answers?: Extract<MillFact, { readonly askId: unknown }>["askId"] }): void => {
  if (answers !== undefined && !world.asks.delete(answers)) world.answered.add(answers)
}

/** From here on these are the quotas. What runs is counted against them anew. */
export const setQuotas = (world: World, quotas: Iterable<readonly [node: string, terms: QuotaTerms]>): void => {
  const all = new Map(quotas)
  world.quotas.clear()
  for (const [node, terms] of all) world.quotas.set(node, terms)
  const tree = new QuotaTree([...all].map(([name, terms]) => described(name, terms)))
  world.index.ledger = new QuotaLedger(tree)
  world.index.standstill.forget()
  for (const tasks of world.index.pieces.values()) for (const { current } of tasks) world.index.ledger.take(nodeOf(current!.workspace), takenBy(tree, current!))
}

export const described = (name: string, { limits, parent, weight = 1 }: QuotaTerms): QuotaNode => ({
  name, parent, weight, limits: new Map(limits.map(({ dimension, ...limit }): [Dimension, Limit] => [dimension, limit]))
})

/** What an attempt takes of what is shared out, as a tree's dimensions name it. */
export const takenBy = (tree: QuotaTree, { gpuModel, resources }: Pick<Placed, "gpuModel" | "resources">): Amounts => amountsOf(resources, modelsOf(tree, gpuModel))

/** The dimensions of a tree that a device of a model counts against. */
const modelsOf = (tree: QuotaTree, model: string | undefined): ReadonlyArray<Dimension> =>
  model === undefined ? [] : tree.dimensions.filter((dimension) => dimension.startsWith(ofModel) && isGpuOf({ model }, { model: dimension.slice(ofModel.length) }))

const ofModel = "gpuMilli/"

/** The model of GPU that a dimension counts, if it counts one. */
export const modelOf = (dimension: Dimension): string | undefined => (dimension.startsWith(ofModel) ? dimension.slice(ofModel.length) : undefined)

export const dimensionOf = (model: string): Dimension => `${ofModel}${model}`

/** Counts an attempt that runs, or counts it no more. */
export const holds = ({ index: { ledger, pieces, urgencies } }: World, task: TaskState, placed: Placed, by: 1 | -1): void => {
  const amounts = takenBy(ledger.tree, placed)
  const own = pieces.get(placed.workspace) ?? new Set()
  const urgent = urgencies.get(placed.workspace) ?? new Map<number | undefined, number>()
  const alike = (urgent.get(placed.urgency) ?? 0) + by
  if (alike === 0) urgent.delete(placed.urgency)
  else urgent.set(placed.urgency, alike)
  if (by === 1) {
    ledger.take(nodeOf(placed.workspace), amounts)
    pieces.set(placed.workspace, own.add(task))
    urgencies.set(placed.workspace, urgent)
  } else {
    ledger.giveBack(nodeOf(placed.workspace), amounts)
    own.delete(task)
    if (own.size > 0) return
    pieces.delete(placed.workspace)
    urgencies.delete(placed.workspace)
  }
}

/** An attempt's job calls itself otherwise urgent than when it was placed. */
export const callUrgent = (world: World, task: TaskState, urgency: number): void => {
  const counted = world.index.pieces.get(task.current!.workspace)?.has(task) ?? false
  if (counted) holds(world, task, task.current!, -1)
  task.current = { ...task.current!, urgency }
  if (counted) holds(world, task, task.current, 1)
}

/** Keeps the sum of what the hosts have that take work. */
export const capacityOf = ({ index: { capacity } }: World, host: HostState): void => {
  const now = mayTake(host) ? amountsOf(host.joined!.capabilities.resources) : noAmounts
  for (const [dimension, amount] of host.counted) shift(capacity, dimension, -amount)
  for (const [dimension, amount] of now) shift(capacity, dimension, amount)
  host.counted = now
}

export const priorityIn = (world: World, { priority, submitted }: JobState): Priority =>
  submitted === undefined ? priorityOf(priority, {}) : priorityOf(priority ?? submitted.fact.spec.priority, world.quotas.get(nodeOf(submitted.fact.workspace)) ?? {})

export const priorityOfPlaced = (world: World, { urgency, workspace }: Pick<Placed, "urgency" | "workspace">): Priority =>
  priorityOf(urgency, world.quotas.get(nodeOf(workspace)) ?? {})

/** What a workspace would take with one more attempt that it may not. */
export const overInWords = ({ available, dimension, needs, node, nominal, used }: OverQuota): string => {
  const borrowed = Math.max(0, used - nominal)
  return `${node} needs ${amountInWords(dimension, needs)} and can have ${available > 0 ? `${amountInWords(dimension, available)} more` : "no more"}: it is due ${amountInWords(dimension, nominal)}, and ${amountInWords(dimension, used)} are taken${borrowed > 0 ? `, ${amountInWords(dimension, borrowed)} of it borrowed` : ""}`
}

