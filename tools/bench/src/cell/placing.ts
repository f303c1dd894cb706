import type { Line } from "@millrace/journal"
import type { HostId } from "@millrace/schemas"
import { Effect } from "effect"
import { quantile, rounded } from "../figures.ts"
import { placementsOn } from "../placement.ts"
import type { Fleet } from "./fleet.ts"
import { sharedNowMs } from "./words.ts"

const tickMs = 10

/** What became of a number of placements. Times are from the append being sent to the host's reactor handing it over. */
export interface Delivered {
  readonly placements: number
  readonly undelivered: number
  readonly msP50: number
  readonly msP99: number
  readonly msMax: number
  /** From the first append until the log had answered them all: what comes late because the log does is no host's fault. */
  readonly appendedMs: number
}

/** Appends placements over the scheduler's line and hears from the hosts when they came. */
export interface Placing {
  /** One placement on each of these hosts, at most `perS` a second; gives up `patienceMs` after the last. */
  readonly place: (hosts: ReadonlyArray<HostId>, perS: number, patienceMs: number) => Effect.Effect<Delivered, unknown>
}

export const placingOver = (line: Line, fleet: Fleet): Placing => {
  const sent = new Map<number, number>()
  let took: Array<number> = []
  let number = 0
  fleet.onHeard((sequence, atMs) => {
    const sentAtMs = sent.get(sequence)
    // What is delivered a second time counts the first time only.
    if (sentAtMs === undefined || !sent.delete(sequence)) return
    took.push(atMs - sentAtMs)
  })
  return {
    place: Effect.fnUntraced(function*(hosts: ReadonlyArray<HostId>, perS: number, patienceMs: number) {
      took = []
      sent.clear()
      const outcomes: Array<Effect.Effect<unknown, unknown>> = []
      const beganMs = sharedNowMs()
      for (let at = 0; at < hosts.length;) {
        const due = Math.min(hosts.length, Math.ceil(((sharedNowMs() - beganMs + tickMs) / 1000) * perS))
        for (; at < due; at += 1) {
          const { outcome, sequence } = line.send(placementsOn(hosts[at]!, number++))
          sent.set(sequence, sharedNowMs())
          outcomes.push(outcome)
        }
        yield* Effect.sleep(tickMs)
      }
      const untilMs = sharedNowMs() + patienceMs
      yield* Effect.forEach(outcomes, (outcome) => outcome, { discard: true }).pipe(Effect.timeout(patienceMs))
      const appendedMs = sharedNowMs() - beganMs
      while (sent.size > 0 && sharedNowMs() < untilMs) yield* Effect.sleep(tickMs)
      return {
        placements: hosts.length,
        undelivered: sent.size,
        msP50: rounded(quantile(took, 0.5)),
        msP99: rounded(quantile(took, 0.99)),
        msMax: rounded(quantile(took, 1)),
        appendedMs: rounded(appendedMs)
      }
    })
  }
}
