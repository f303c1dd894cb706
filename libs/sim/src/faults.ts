import type { Chance } from "./chance.ts"

/** Everything that a simulated world does to its services. */
export const faultNames = [
  /** A message takes longer than usual; messages of different streams overtake each other. */
  "slow_message",
  /** A request never reaches the log; its sender waits in vain. */
  "lost_request",
  /** The log did what was asked, and its answer never comes. */
  "lost_answer",
  /** A request reaches the log after its sender gave up waiting, perhaps after its sender died. */
  "late_request",
  /** An acknowledgement is lost, so the commit is delivered again. */
  "lost_ack",
  /** A commit that was handled and acknowledged is delivered once more. */
  "doubled_delivery",
  /** A service ends at a place between two effects. */
  "crash_point",
  /** A service ends at any moment. */
  "crash",
  /** A machine starts anew: the work on it is gone, the files of its host are not. */
  "reboot",
  /** A service stands still, as under SIGSTOP, and goes on. */
  "pause",
  /** A service and the log do not reach each other for a while. */
  "partition",
  /** Nobody answers for the log for a while. */
  "leaderless",
  /** A reader is handed nothing, without an error, until it is noticed and replaced. */
  "frozen_reader",
  /** A reader hangs on a replica that lags behind. */
  "stale_replica",
  /** The newest word on a subject is looked up on a replica that has not heard it yet. */
  "stale_look_up",
  /** Services' clocks differ. */
  "clock_skew"
] as const
export type FaultName = (typeof faultNames)[number]

/** How likely or how frequent each fault is in one run, from 0 (never) to 1 (as bad as it gets). */
export type Swarm = Readonly<Record<FaultName, number>>

/** No faults at all. */
export const calm: Swarm = Object.fromEntries(faultNames.map((name) => [name, 0])) as Swarm

/**
 * A random half of the faults, each at a rate of its own. A run with every fault at once rarely gets far
 * enough to meet the interesting ones (Groce et al., "Swarm Testing", ISSTA 2012).
 */
export const swarmOf = (chance: Chance): Swarm =>
  Object.fromEntries(faultNames.map((name) => {
    const on = chance.happens(0.5)
    const rate = chance.next()
    return [name, on ? 0.1 + 0.9 * rate : 0]
  })) as Swarm
