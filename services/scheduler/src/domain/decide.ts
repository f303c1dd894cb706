import type { Round, Said } from "@millrace/journal"
import { demandDueMs, sayDemand } from "./demand.ts"
import { place } from "./place.ts"
import { Saying } from "./saying.ts"
import { judgeHosts, settle } from "./settle.ts"
import { isFrozen, type World } from "./world.ts"

/**
 * What follows from the world now: hosts are judged, ends settled, withdrawals and cancels carried out, then
 * what waits longest is placed on the first host that fits. Pure; the same world and round say the same, in
 * the same order.
 */
export const decide = (world: World, round: Round): ReadonlyArray<Said> => {
  const saying = new Saying(round)
  judgeHosts(world, saying)
  settle(world, saying)
  place(world, saying)
  sayDemand(world, saying)
  return saying.commits()
}

/** When time alone would have more said. What stands in a frozen scope waits for somebody, not for a time. */
export const dueAtMs = (world: World): number | undefined => {
  const first = world.index.agenda.first((of) => isFrozen(world, "job" in of ? of.job : of))
  const demand = demandDueMs(world)
  return first === undefined ? demand : demand === undefined ? first : Math.min(first, demand)
}
