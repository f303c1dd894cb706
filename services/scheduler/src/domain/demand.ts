import { namedId } from "@millrace/decider"
import type { DemandChanged, DemandClass, FactId, JobSpec } from "@millrace/schemas"
import type { Saying } from "./saying.ts"
import type { World } from "./world.ts"

/** The broker is woken no more often than this. */
const demandEveryMs = 2_000
/** At most so many classes are told, those of which most waits. */
const classesMax = 64

const story = namedId<FactId>("fct", "the cell's demand")

/** What a class of work needs of a machine, how many of it begin together, and how near to each other. */
type Wanted = Pick<DemandClass, "cpuMilli" | "memoryMib" | "diskMib" | "gpus" | "gpuMilli" | "gpu" | "where" | "gang" | "together" | "deadlineAtMs" | "workLeftMs" | "own">

/** What makes two classes one: the same text for the same needs, whoever wrote them in whatever order. */
export const classKeyOf = ({ cpuMilli, deadlineAtMs, diskMib = 0, gang, gpu, gpuMilli, gpus, memoryMib, own, together, where, workLeftMs }: Wanted): string =>
  canonical({ cpuMilli, memoryMib, ...(diskMib === 0 ? {} : { diskMib }), gpus, gpuMilli, gpu, where, gang, together, deadlineAtMs, workLeftMs, own })

/** The class of a job's work. The members of a gang that share a host want one machine for all of them. */
export const classOf = ({ deadline, gang, gpu, resources, trust, where }: JobSpec): Wanted => {
  const { cpuMilli, diskMib, gpus, memoryMib } = resources
  const each = onOneMachine(gang)
  return {
    ...resources, cpuMilli: cpuMilli * each, memoryMib: memoryMib * each, diskMib: diskMib * each, gpus: gpus * each,
    ...(gpu === undefined ? {} : { gpu }), ...(where === undefined ? {} : { where }), ...nearness(gang), ...haste(deadline, where), ...(trust === "own" ? { own: true } : {})
  }
}

/** Deadlines of one class are the same to so much, and so is their work: the earlier end and the more work count. */
const hasteMs = 600_000

/** A deadline says which machines are bought where some may be taken back. What is begun again does all of its work again. */
const haste = (deadline: JobSpec["deadline"], where: JobSpec["where"]): Pick<Wanted, "deadlineAtMs" | "workLeftMs"> =>
  deadline === undefined || (where?.spot !== "tolerated" && where?.spot !== "rather") ? {} : {
    deadlineAtMs: Math.floor(deadline.atMs / hasteMs) * hasteMs,
    workLeftMs: Math.ceil(deadline.workMs / hasteMs) * hasteMs
  }

/** How many of a gang's members begin together, and on what: those that share one machine are one piece of work. */
const nearness = (gang: JobSpec["gang"]): Pick<Wanted, "gang" | "together"> =>
  gang === undefined || gang.topology === "host" ? {} : gang.topology === "fabric" ? { gang: gang.members } : { together: { members: gang.members, on: gang.topology } }

/** How many tasks of a job one machine must take. */
export const onOneMachine = (gang: JobSpec["gang"]): number => (gang?.topology === "host" ? gang.members : 1)

/** JSON with sorted keys. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, held: unknown) =>
    typeof held === "object" && held !== null && !Array.isArray(held) ? Object.fromEntries(Object.entries(held).sort(([left], [right]) => (left < right ? -1 : 1))) : held)

/** Says what waits for capacity, when that has changed and was not said just now. */
export const sayDemand = (world: World, saying: Saying): void => {
  const due = demandDueMs(world)
  if (due === undefined || due > saying.round.atMs) return
  const since = new Map<string, number>()
  for (const queue of world.index.waiting.values()) {
    for (const { derived: { demand }, told, waitingSinceMs } of queue.items) {
      if (demand === undefined) continue
      const sinceMs = waitingSinceMs ?? told!.atMs
      since.set(demand.key, Math.min(since.get(demand.key) ?? Number.POSITIVE_INFINITY, sinceMs))
    }
  }
  const event: DemandChanged = {
    _tag: "DemandChanged",
    classes: toldOf(world).map(([key, waiting]) => {
      const wanted = JSON.parse(key) as Wanted
      return { ...wanted, gpuModels: (wanted.gpu ?? []).flatMap(({ model }) => model ?? []), waiting, oldestSinceMs: since.get(key)! }
    })
  }
  saying.say({ kind: "demand", scope: "cell" }, { event, partOf: story })
}

/** When the demand is to be said, if it is another than was said last. */
export const demandDueMs = (world: World): number | undefined => {
  const said = world.demand?.counts
  const now = toldOf(world)
  if (now.length === (said?.size ?? 0) && now.every(([key, waiting]) => said?.get(key) === waiting)) return undefined
  return world.demand === undefined ? 0 : world.demand.atMs + demandEveryMs
}

const toldOf = (world: World): ReadonlyArray<readonly [string, number]> => {
  const classes = [...world.index.demand].sort(([left, most], [right, other]) => other - most || (left < right ? -1 : 1))
  return classes.length > classesMax ? classes.slice(0, classesMax) : classes
}
