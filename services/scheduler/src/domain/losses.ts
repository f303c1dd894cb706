import type { HostId, LeaseEnded } from "@millrace/schemas"
import type { HostState, Rented, TaskState, World } from "./world.ts"

/** Whether a machine's end was its provider's doing: one that could be taken back, and is not there when it is looked for, was. */
export const wasTakenBack = ({ confirmed }: LeaseEnded, rented: Rented | undefined): boolean =>
  confirmed === "reclaimed" || (confirmed === "not_there" && rented?.spot === true)

/** How often a task may lose its host. A task that takes five hosts with it does so by its own doing. */
const lossesMax = 5

/**
 * Whether the loss of a host counts against what ran there. Not where its provider took the machine back; and while a
 * machine that can be taken back is rented still, nobody has said yet that it was not.
 */
const counts = (host: HostState | undefined): boolean => host?.goneAtMs === undefined && host?.rented?.spot !== true

const lostBefore = (world: World, { lostOn = [] }: TaskState): number => lostOn.filter((id) => counts(world.hosts.get(id))).length

/** How many of its hosts a task has lost, with the one that is lost now, but for those that their providers took back. */
export const lossesOf = (world: World, task: TaskState, lostNow: HostId | undefined): number =>
  lostBefore(world, task) + Number(lostNow !== undefined && counts(world.hosts.get(lostNow)))

/** Whether a task that has lost so many of its hosts begins no more. */
export const losesTooOften = (losses: number): boolean => losses > lossesMax

/** That a host is lost, and what it counts for, in words. */
export const lossInWords = ({ goneAtMs, id, rented }: HostState): string => {
  const said = `${id} was silent until its lease was over and is taken for lost`
  if (goneAtMs !== undefined) return `${said}; its provider took that machine back, and this does not count as a loss`
  return rented?.spot === true ? `${said}; its provider could take that machine back, and this counts as a loss only if it did not` : said
}
