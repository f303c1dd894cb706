/** How the parts of a choice are weighed against each other, in points: 100 points are one device lost to later work. */
export interface Weights {
  /**
   * Fragmentation counts in whole steps of so many milli-devices. What makes less difference than a step is left to
   * the tie-break, which fills the fullest host first; without steps the score spreads work over hosts that look a
   * hair better (measured by the packing bench: unrounded, two points of allocation are lost).
   */
  readonly stepMilli: number
  /**
   * How many times a device that is cut badly counts: what is lost in its rest is lost for certain, where fragmentation
   * is what might be. Below 5 the packing bench gives out less.
   */
  readonly restTimes: number
  /** For a whole device of average scarcity. */
  readonly scarcityPoints: number
  /** For a second of estimated waiting and loading. */
  readonly startPointsPerSecond: number
}

/** What the benches were measured with, and what the service places by. */
export const usualWeights: Weights = { stepMilli: 80, restTimes: 8, scarcityPoints: 80, startPointsPerSecond: 1 }
