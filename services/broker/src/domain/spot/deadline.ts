/** Work that must be over by a moment, and what it costs to move it. */
export interface Terms {
  /** Work in all, and from its beginning to its deadline. */
  readonly workMs: number
  readonly allowedMs: number
  /** What a start costs in time, wherever it is: boot, image, the last checkpoint read again. */
  readonly restartMs: number
  /** How long it takes at most until we notice what has changed. */
  readonly lookEveryMs: number
}

/** Where the work is: on spot in some zone, on what cannot be taken back, or nowhere. */
export type Place = { readonly on: "spot"; readonly zone: number } | { readonly on: "on_demand" } | { readonly on: "nothing" }

/** What is known at one moment. Nothing of it lies in the future. */
export interface Moment {
  readonly leftMs: number
  readonly workLeftMs: number
  /** Of a start that is still under way. */
  readonly restartLeftMs: number
  /** A zone that was taken back is no place any more. */
  readonly place: Place
  /** Zones that have a machine now. */
  readonly open: ReadonlyArray<number>
  /** How often each zone had one lately, 0 to 1. */
  readonly outlook: ReadonlyArray<number>
}

const onDemand: Place = { on: "on_demand" }
const nowhere: Place = { on: "nothing" }

/** Less than so many restarts of work left is not worth a move. */
const restartsWorth = 5

/**
 * Where work with a deadline goes now.
 *
 * After "Can't Be Late: Optimizing Spot Instance Savings under Deadlines" (Wu et al., NSDI 2024), whose Uniform Progress spends the spare time
 * evenly over the work, stays on spot until it is taken, and whose safety net ends all risk once the time left is what the work needs. Three
 * things are different. Work on on-demand goes back to spot as soon as there is spot, not when it is ahead: being there costs three times as
 * much. Work on spot stays while one more restart still fits, because it uses up no spare time there. And of several zones the one is taken that
 * had machines most often lately, so a loss is a move to the next zone instead of a wait.
 *
 * It never risks the deadline: a spot machine may go at any moment, is noticed within `lookEveryMs`, and then a start on on-demand must still fit.
 */
export const nextPlace = ({ allowedMs, lookEveryMs, restartMs, workMs }: Terms, { leftMs, open, outlook, place, restartLeftMs, workLeftMs }: Moment): Place => {
  const spareMs = leftMs - workLeftMs - (place.on === "nothing" ? 0 : restartLeftMs)
  const best = open.length === 0 ? undefined : open.reduce((a, b) => ((outlook[b] ?? 0) > (outlook[a] ?? 0) ? b : a))
  switch (place.on) {
    case "spot":
      return spareMs >= restartMs + lookEveryMs ? place : onDemand
    case "on_demand": {
      const worthIt = workLeftMs > restartsWorth * restartMs
      return best !== undefined && worthIt && spareMs >= 2 * (restartMs + lookEveryMs) ? { on: "spot", zone: best } : onDemand
    }
    case "nothing": {
      if (best !== undefined && spareMs >= 2 * restartMs + lookEveryMs) return { on: "spot", zone: best }
      if (spareMs < 2 * (restartMs + lookEveryMs)) return onDemand
      // Spare time is spent evenly over the work: whoever has more of it than that may wait for spot.
      return spareMs > (allowedMs - workMs) * (workLeftMs / workMs) ? nowhere : onDemand
    }
  }
}

/** How often a zone had machines, after one more look: the looks of the last `memoryMs` weigh most. */
export const outlookAfter = (before: number, isOpen: boolean, lookEveryMs: number, memoryMs = 7_200_000): number =>
  before + Math.min(1, lookEveryMs / memoryMs) * ((isOpen ? 1 : 0) - before)
