import { type Resources, type Where, wishesInWords } from "@millrace/schemas"
import { DateTime } from "effect"
import { type Near, nearest, type HostRoom, type Need } from "./nearest.ts"
import { counted, inWords } from "./resources.ts"

/** Where a job stands, for whoever asks why. */
export type WhyStage = "submitted" | "waiting" | "backing_off" | "running" | "over"

/** How the tasks of an array stand. */
export interface TaskCounts {
  readonly total: number
  readonly notBegun: number
  readonly running: number
  /** Begun, and between two attempts. */
  readonly between: number
  readonly succeeded: number
  readonly failed: number
  readonly cancelled: number
  readonly lost: number
  readonly refused: number
}

/** An attempt of the job, and why it is where it is. */
export interface PlacedThere {
  readonly hostId: string
  readonly task: number | undefined
  readonly attempt: number
  readonly reason: string
  readonly over: boolean
}

/** What is known of a job, as it was said. */
export interface JobKnown {
  readonly need: Need
  readonly cancelled: boolean
  readonly parallelismMax: number | undefined
  /** The last that the scheduler said of the whole job. */
  readonly said: {
    readonly what: "deferred" | "placed" | "retried" | "settled" | "refused"
    readonly reason: string | undefined
    readonly words: string | undefined
    readonly unblockedBy: string | undefined
    readonly dueAtMs: number | undefined
    readonly outcome: string | undefined
    readonly hostId: string | undefined
    readonly attempt: number | undefined
  } | undefined
  /** Newest first. */
  readonly placed: ReadonlyArray<PlacedThere>
  readonly tasks: TaskCounts | undefined
  readonly after: ReadonlyArray<string>
}

/** Why a job is where it is: what a person asks of it first. */
export interface Why {
  readonly stage: WhyStage
  readonly sentence: string
  /** Whether the scheduler's last word on waiting still holds for some of it. */
  readonly waits: boolean
  readonly nearest: ReadonlyArray<Near>
  readonly changes: ReadonlyArray<string>
}

/** Explains a job from what was said of it and from the room that there is. Pure: the same words give the same answer. */
export const explain = (job: JobKnown, hosts: ReadonlyArray<HostRoom>): Why => {
  const stage = stageOf(job)
  const waits = (stage === "waiting" || isPartlyWaiting(job)) && job.said?.reason !== undefined
  const near = waits && isForHosts(job) ? nearest(job.need, hosts) : []
  return { stage, waits, nearest: near, sentence: sentenceOf(stage, job, near, waits), changes: changesOf(stage, job, near, waits) }
}

const stageOf = ({ said, tasks }: JobKnown): WhyStage => {
  if (said === undefined) return "submitted"
  if (said.what === "settled" || said.what === "refused") return "over"
  if (tasks !== undefined && tasks.running > 0) return "running"
  if (said.what === "retried" || (tasks !== undefined && tasks.between > 0)) return "backing_off"
  return said.what === "deferred" ? "waiting" : tasks === undefined ? "running" : "waiting"
}

const isPartlyWaiting = ({ parallelismMax, said, tasks }: JobKnown): boolean =>
  tasks !== undefined && said !== undefined && said.what !== "settled" && said.what !== "refused" && tasks.notBegun > 0 &&
  (parallelismMax === undefined || tasks.running + tasks.between < parallelismMax)

const isForHosts = ({ said }: JobKnown): boolean => said?.reason === "no_host" || said?.reason === "no_room"

const sentenceOf = (stage: WhyStage, job: JobKnown, near: ReadonlyArray<Near>, waits: boolean): string => {
  const { said, tasks } = job
  if (stage === "submitted") return "Nothing was decided about it yet: the scheduler has not come to it, or does not run."
  if (stage === "over") return endOf(job)
  if (job.cancelled) return "Somebody asked for its end, and it ends as soon as its host has said so."
  if (tasks !== undefined) return `${countsOf(tasks)}${waits ? `; the rest waits: ${waitOf(job, near)}` : atLimit(job) ? `; no more than ${job.parallelismMax} at once, as it asked` : ""}.`
  if (stage === "running") {
    const newest = job.placed[0]
    return newest === undefined ? "It was placed." : `It was placed on ${newest.hostId} as attempt ${newest.attempt}: ${newest.reason}.`
  }
  if (stage === "backing_off") {
    return `Attempt ${said!.attempt} is over (${said!.words}), and the next begins no earlier than ${momentOf(said!.dueAtMs)}.`
  }
  return `It waits: ${waitOf(job, near)}.`
}

const atLimit = ({ parallelismMax, tasks }: JobKnown): boolean =>
  parallelismMax !== undefined && tasks !== undefined && tasks.notBegun > 0 && tasks.running + tasks.between >= parallelismMax

const countsOf = ({ between, cancelled, failed, lost, notBegun, refused, running, succeeded, total }: TaskCounts): string => {
  const parts = [[running, "run"], [between, "are between two attempts"], [notBegun, "have not begun"], [succeeded, "succeeded"], [failed, "failed"], [cancelled, "were cancelled"], [lost, "were lost"], [refused, "were refused"]] as const
  return `Of ${total} tasks ${parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`).join(", ")}`
}

const waitOf = (job: JobKnown, near: ReadonlyArray<Near>): string => {
  const { need: { resources }, said } = job
  if (!isForHosts(job)) return said?.words ?? ""
  const first = near[0]
  if (first === undefined) return said?.words ?? ""
  if (first.fits) return `${first.hostId} has room for it now, unless another is before it`
  if (first.lacks.length > 0) return `no host offers ${first.lacks.join(" and ")}`
  if (!first.fitsWhenEmpty) return `it needs ${inWords(resources)}, and the nearest host, ${first.hostId}, is too small even when empty: it is short of ${shortInWords(first.short)}`
  return `it needs ${inWords(resources)}, and the nearest host, ${first.hostId}, ${first.takesWork ? `is short of ${shortInWords(first.short)}` : `takes no new work (${first.state})`}`
}

export const shortInWords = ({ cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Resources): string =>
  [
    ...(cpuMilli > 0 ? [counted(cpuMilli / 1000, "core")] : []), ...(memoryMib > 0 ? [`${memoryMib} MiB`] : []),
    ...(diskMib > 0 ? [`${diskMib} MiB disk`] : []), ...(gpus > 0 ? [counted(gpus, "GPU")] : []),
    ...(gpuMilli > 0 ? [`${gpuMilli / 1000} of a GPU`] : [])
  ].join(", ") || "nothing"

const endOf = ({ said, tasks }: JobKnown): string => {
  const { attempt, hostId, outcome, reason, what, words } = said!
  if (what === "refused") return `It was refused (${reason}): ${words}.`
  const how = `${outcome === "cancelled" || outcome === "lost" || outcome === "refused" ? "was " : ""}${outcome}`
  if (tasks !== undefined) return `It ${how}: ${words}.`
  return `It ${how}${hostId === undefined ? "" : ` on ${hostId}`}${attempt === undefined || attempt < 1 ? "" : ` in attempt ${attempt}`}: ${words}.`
}

const changesOf = (stage: WhyStage, job: JobKnown, near: ReadonlyArray<Near>, waits: boolean): ReadonlyArray<string> => {
  if (stage === "submitted") return ["a scheduler that runs: look at the cell with: millrace status"]
  if (stage === "over") return []
  if (stage === "backing_off" && job.tasks === undefined) return ["time alone; or cancel it"]
  if (atLimit(job)) return ["the end of one of its own tasks"]
  if (!waits) return []
  switch (job.said?.reason) {
    case "budget":
      return ["more money in the account that pays for it, or a grant that may spend more", "the end of other work: what that was promised and did not use comes back"]
    case "quota":
      return ["the end of other work under the same grant", "a grant that allows more at once"]
    case "after":
      return [`the end of ${job.after.length === 0 ? "the jobs that come before it" : job.after.join(" and ")}`]
    case "backing_off":
      return ["the end of enough of what runs where it would begin sooner", `time: at ${momentOf(job.said.dueAtMs)} it waits for that no longer`]
    case "snapshot":
      return ["the snapshot that it starts from, once all of its bytes are kept"]
    default:
      return roomChanges(job, near)
  }
}

/** Where a host must stand, in words. */
const placesInWords = ({ only = {}, spot = "never" }: Where = {}): string => {
  const parts = ([["region", only.regions], ["provider", only.providers], ["residency", only.residency], ["isolation", only.isolation]] as const).flatMap(([what, names]) => (names === undefined ? [] : [`${what} ${names.join(" or ")}`]))
  return parts.length === 0 ? "" : ` in ${parts.join(", ")}${spot === "never" ? "" : ", taken back or not"}`
}

/** What would give work of a need room. */
export const roomChanges = ({ need: { gpu, resources, runtime, trust, where } }: { readonly need: Need }, near: ReadonlyArray<Near>): ReadonlyArray<string> => {
  const able = near.filter(({ lacks }) => lacks.length === 0)
  const waitable = able.filter(({ fits, fitsWhenEmpty, takesWork }) => takesWork && fitsWhenEmpty && !fits)
  const shut = able.filter(({ fitsWhenEmpty, takesWork }) => !takesWork && fitsWhenEmpty)
  return [
    ...(waitable.length === 0 ? [] : [`the end of enough of what runs on ${waitable.map(({ hostId }) => hostId).join(" or ")}`]),
    ...shut.map(({ hostId, state }) => `${hostId} taking work again: it is ${state}`),
    `another host with at least ${inWords(resources)}${gpu === undefined ? "" : ` of ${wishesInWords(gpu)}`}${placesInWords(where)} that runs ${runtime} work with trust ${trust}`,
    ...(able.length > 0 && !able.some(({ fitsWhenEmpty }) => fitsWhenEmpty) ? ["asking for less: no host here is large enough even when empty"] : [])
  ]
}

const momentOf = (atMs: number | undefined): string => (atMs === undefined ? "now" : DateTime.formatIso(DateTime.makeUnsafe(atMs)))
