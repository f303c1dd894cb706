import { answer } from "./answers.ts"
import type { Round, Said } from "@millrace/journal"
import { demandDueMs, sayDemand } from "./demand.ts"
import { type Looking, place } from "./place.ts"
import { Saying } from "./saying.ts"
import { judgeHosts, settle } from "./settle.ts"
import { isFrozen, type World } from "./world.ts"

/**
 * What follows from the world now: hosts are judged, ends settled, withdrawals and cancels carried out, asks
 * answered, and what waits is placed in the order in which it is served. Pure; the same world and round say the same, in
 * the same order. However few of the lines that wait it looks at, it places the same as if it looked at all of them.
 */
export const decide = (world: World, round: Round, looking?: Looking): ReadonlyArray<Said> => {
  const saying = new Saying(round)
  judgeHosts(world, saying)
  const changes = answer(world, saying)
  settle(world, saying)
  // What stands behind a new quota or priority in the log follows it: the next round knows it, and comes at once.
  if (!changes) place(world, saying, looking)
  sayDemand(world, saying)
  return saying.commits()
}

/** When time alone would have more said. What stands in a frozen scope waits for somebody, not for a time. */
export const dueAtMs = (world: World): number | undefined => {
  const first = world.index.agenda.first((of) => isFrozen(world, "job" in of ? of.job : of))
  const moments = [first, demandDueMs(world), ...[...world.index.waiting.values()].map(({ items }) => items.find((job) => !isFrozen(world, job))?.told?.dueAtMs)]
  const due = moments.filter((moment) => moment !== undefined)
  return due.length === 0 ? undefined : due.reduce((one, other) => Math.min(one, other))
}
