import { type Moment, nextPlace, type Place, type SpotTerms } from "@millrace/broker/planning"

/** Decides at each look where the work goes; one is made for each job, so it may remember. */
export type Policy = (terms: SpotTerms) => (moment: Moment) => Place

export const ours: Policy = (terms) => (moment) => nextPlace(terms, moment)

/** On-demand for good once only that can still be in time. */
const withSafetyNet = (policy: (terms: SpotTerms, moment: Moment) => Place): Policy => (terms) => {
  let forGood = false
  return (moment) => {
    forGood ||= moment.leftMs <= moment.workLeftMs + 2 * terms.restartMs + terms.lookEveryMs
    return forGood ? { on: "on_demand" } : policy(terms, moment)
  }
}

const firstOpen = ({ open: [zone] }: Moment): Place => (zone === undefined ? { on: "nothing" } : { on: "spot", zone })

/** Spot whenever there is any, else it waits. */
export const greedy: Policy = withSafetyNet((_, moment) => (moment.place.on === "spot" ? moment.place : firstOpen(moment)))

/** Uniform Progress, with its hysteresis of two restarts, as the paper has it for one zone. */
export const uniformProgress: Policy = withSafetyNet(({ allowedMs, restartMs, workMs }, moment) => {
  const { leftMs, open, place, workLeftMs } = moment
  const done = workMs - workLeftMs
  const expected = (atMs: number): number => (atMs * workMs) / allowedMs
  const sinceMs = allowedMs - leftMs
  switch (place.on) {
    case "spot":
      return place
    case "on_demand":
      return done >= expected(sinceMs + 2 * restartMs) ? firstOpen(moment) : place
    case "nothing":
      return open.length > 0 ? firstOpen(moment) : done < expected(sinceMs) ? { on: "on_demand" } : place
  }
})
