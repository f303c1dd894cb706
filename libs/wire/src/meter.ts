/**
 * Counts bytes that are held in memory, now and at most. The tests of bounded memory read `peak`: it is
 * exact, where the memory of a process is not.
 */
export interface Meter {
  now: number
  peak: number
}

/** A meter at nought. */
export const meter = (): Meter => ({ now: 0, peak: 0 })

/** Counts `bytes` more (or fewer, below nought). */
export const count = (meter: Meter, bytes: number): void => {
  meter.now += bytes
  meter.peak = Math.max(meter.peak, meter.now)
}
