import type { JobRetried } from "@millrace/schemas"
import { endingText } from "./ending.ts"
import { gangOf } from "./gangs.ts"
import { losesTooOften, lossesOf, lossInWords } from "./losses.ts"
import type { Saying } from "./saying.ts"
import { afterGang, goesOn, type GangEnd, triesOf, withdraw } from "./settle.ts"
import { stageOf, tasksOf, wordOn } from "./tasks.ts"
import type { JobState, TaskState, World } from "./world.ts"

/**
 * Says what becomes of a gang. While all of its members run, or have ended well and wait for the others, nothing. When
 * one ends otherwise the others are told to end; once nobody runs any more all begin again together, or the job is
 * over. So nothing of a gang runs beside a part of it that does not, but for as long as hosts take to end it.
 */
export const settleGang = (world: World, job: JobState, saying: Saying): void => {
  const members = [...job.tasks.values()].sort((left, right) => left.number - right.number)
  const stages = new Map(members.map((task) => [task, stageOf(world, task)]))
  const there = members.filter((task) => task.current !== undefined)
  const apart = there.length > 0 && there.length < tasksOf(job)
  const bad = there.filter((task) => stages.get(task) === "lost" || (stages.get(task) === "ended" && (!endedWell(task) || task.withdrawn === "settled")))
  if (bad.length === 0 && !apart) {
    if (there.length === tasksOf(job) && there.every((task) => stages.get(task) === "ended")) for (const task of there) afterGang(task, { _tag: "Well" }, saying)
    return
  }
  for (const task of there) {
    if (task.withdrawn !== undefined || saying.withdrawn.has(task)) continue
    if (stages.get(task) === "lost") withdraw(task, "host_lost", saying)
    else if (stages.get(task) === "placed") withdraw(task, "settled", saying, { why: "another member of its gang has ended, and its members run together or not at all" })
  }
  if (there.some((task) => stages.get(task) === "placed" || (stages.get(task) === "lost" && task.withdrawn === undefined))) return
  end(world, job, there, bad, saying)
}

const endedWell = (task: TaskState): boolean => {
  const word = wordOn(task)?.fact
  return word?._tag === "AttemptExited" && word.cause === "exited" && word.code === 0
}

/** Nobody of it runs any more. Losing a host and giving way take none of its attempts; and giving way is no loss, so whatever its policy all begin again. */
const end = (world: World, job: JobState, there: ReadonlyArray<TaskState>, bad: ReadonlyArray<TaskState>, saying: Saying): void => {
  const lost = there.filter((task) => stageOf(world, task) === "lost")
  // Who ended by itself or was lost has its gang's policy decide; of one that gave way the rest ends for that alone.
  const first = bad.find(({ withdrawn }) => withdrawn !== "settled" && withdrawn !== "preempted") ?? bad.find(({ withdrawn }) => withdrawn !== "settled") ?? bad[0]
  const spared = lost.length > 0 || there.some(({ withdrawn }) => withdrawn === "preempted")
  // Of one that has begun to be settled the rest is settled, too: whoever dies in between has said a part of it.
  const settled = Array.from({ length: job.next }).some((_, rank) => !job.tasks.has(rank))
  const again = !settled && (first === undefined || (first.withdrawn === "preempted" && lost.length === 0) || (gangOf(job)!.onLoss === "restart" &&
    (spared ? there.every((task) => !losesTooOften(lossesOf(world, task, lost.includes(task) ? task.current!.hostId : undefined))) : there.every((task) => triesOf(task) < job.submitted!.fact.spec.attemptsMax))))
  const cause = first === undefined ? "the rest of its gang begins again" : causeOf(world, first)
  const notBeforeMs = Math.max(saying.round.atMs, ...lost.map((task) => leaseOver(world, task)))
  for (const task of there) {
    const said: GangEnd = again
      ? { _tag: "Again", terms: { failedAttempt: task.attempt, cause: task === first ? cause : `member ${first?.number ?? "of another part"} of its gang: ${cause}`, notBeforeMs, ...exempt(world, task, spared || first === undefined) } }
      : task === first || (bad.includes(task) && task.withdrawn !== "settled")
      ? { _tag: lost.includes(task) ? "Lost" : "Badly", cause: causeOf(world, task) }
      : endedWell(task) && task.withdrawn !== "settled"
      ? { _tag: "Well" }
      : { _tag: "Ended", cause: first === undefined ? cause : `member ${first.number} of its gang: ${cause}` }
    afterGang(task, said, saying)
  }
}

const exempt = (world: World, task: TaskState, spared: boolean): Pick<JobRetried, "lost" | "preempted" | "gang"> =>
  stageOf(world, task) === "lost" ? { lost: true } : !spared ? {} : task.withdrawn === "preempted" ? { preempted: true } : { gang: true }

const causeOf = (world: World, task: TaskState): string => {
  if (stageOf(world, task) === "lost") return lossInWords(world.hosts.get(task.current!.hostId)!)
  if (task.withdrawn === "preempted") return `it gave way to ${task.gaveWay ?? "other work"}${goesOn(task)}`
  if (task.withdrawn === "timed_out") return "its time was up, and its host had not ended it"
  const word = wordOn(task)?.fact
  return word === undefined ? "it ended" : endingText(word, task.job.submitted!.fact.spec)
}

/** Nobody runs the lost attempt any more from then on. */
const leaseOver = (world: World, { current, job }: TaskState): number => {
  const { lastHeardAtMs, leaseEndedAtMs } = world.hosts.get(current!.hostId)!.lost!
  return lastHeardAtMs + Math.max(leaseEndedAtMs - lastHeardAtMs, job.submitted!.fact.spec.onSilence.keepMs) + 1_000
}
