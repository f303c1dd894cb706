import { namedId } from "@millrace/decider"
import type { DemandChanged, DemandClass, FactId, JobSpec } from "@millrace/schemas"
import type { Saying } from "./saying.ts"
import type { World } from "./world.ts"

/** The broker is woken no more often than this. */
const demandEveryMs = 2_000
/** At most so many classes are told at a time. Whoever hears as many takes the list for cut. */
const classesMax = 64
/** Of more, so many of which most waits are told always, and the others by turns: what nobody sells holds no place for good. */
const alwaysMax = 32
/** A turn lasts as long as it takes to plan for what is told and to ask for it. */
export const turnMs = 60_000
/** Of so many classes it is remembered when they were told, the last ones. */
const rememberedMax = 16_384

/** What was last said of the demand. */
export interface DemandSaid {
  /** How much waits, by class. */
  readonly counts: ReadonlyMap<string, number>
  readonly atMs: number
  /** When the turn began. */
  readonly turnAtMs: number
  /** When each class was told last, in that order. Empty while all were told. */
  readonly toldAtMs: ReadonlyMap<string, number>
}

/** Takes in that the demand was said. It follows from what was said alone, and not from what waits now. */
export const evolveDemand = (before: DemandSaid | undefined, { classes }: DemandChanged, atMs: number): DemandSaid => {
  const counts = new Map(classes.map((wanted) => [classKeyOf(wanted), wanted.waiting]))
  if (classes.length < classesMax) return { counts, atMs, turnAtMs: atMs, toldAtMs: new Map() }
  const toldAtMs = new Map(before?.toldAtMs)
  for (const key of counts.keys()) {
    toldAtMs.delete(key)
    toldAtMs.set(key, atMs)
  }
  for (const oldest of toldAtMs.keys()) {
    if (toldAtMs.size <= rememberedMax) break
    toldAtMs.delete(oldest)
  }
  const goesOn = before !== undefined && before.toldAtMs.size > 0 && atMs < before.turnAtMs + turnMs
  return { counts, atMs, turnAtMs: goesOn ? before.turnAtMs : atMs, toldAtMs }
}

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
    classes: toTell(world, saying.round.atMs).map(([key, waiting]) => {
      const wanted = JSON.parse(key) as Wanted
      return { ...wanted, gpuModels: (wanted.gpu ?? []).flatMap(({ model }) => model ?? []), waiting, oldestSinceMs: since.get(key)! }
    })
  }
  saying.say({ kind: "demand", scope: "cell" }, { event, partOf: story })
}

/** When the demand is to be said: if it is another than was said last, or others have their turn. */
export const demandDueMs = (world: World): number | undefined => {
  const { demand: said, index: { demand } } = world
  if (said === undefined) return demand.size === 0 ? undefined : 0
  const now = toTell(world, said.atMs)
  if (now.length !== said.counts.size || now.some(([key, waiting]) => said.counts.get(key) !== waiting)) return said.atMs + demandEveryMs
  return demand.size > classesMax ? said.turnAtMs + turnMs : undefined
}

/** The classes that are told at a moment: of too many those of which most waits, those whose turn it is, and who was told longest ago. */
const toTell = ({ demand: said, index: { demand } }: World, atMs: number): ReadonlyArray<readonly [string, number]> => {
  const classes = [...demand].sort(([left, most], [right, other]) => other - most || (left < right ? -1 : 1))
  if (classes.length <= classesMax) return classes
  const inTurn = said !== undefined && atMs < said.turnAtMs + turnMs
  const others = classes.slice(alwaysMax).map(([key, waiting]) =>
    ({ key, waiting, place: inTurn && said.counts.has(key) ? 0 : 1, toldAtMs: said?.toldAtMs.get(key) ?? -1 }))
  others.sort((left, right) => left.place - right.place || left.toldAtMs - right.toldAtMs)
  return [...classes.slice(0, alwaysMax), ...others.slice(0, classesMax - alwaysMax).map(({ key, waiting }) => [key, waiting] as const)]
}
