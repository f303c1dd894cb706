import type { BrokerTookOver, DemandClass } from "@millrace/schemas"
import { chanceOf } from "../chances.ts"
import { type Choice, fitting, roomOfChoice } from "../greedy.ts"
import type { State } from "../state.ts"
import { type Moment, nextPlace, type Terms } from "./deadline.ts"

type Class = typeof DemandClass.Type

/** What is taken back is heard of within so long. */
const lookEveryMs = 60_000

const toleratesSpot = ({ where }: Class): boolean => where?.spot === "tolerated" || where?.spot === "rather"

/** How long it may take, at most, from asking for a machine until work begins there. */
const startMsOf = ({ answerMsMax, bootMsMax }: BrokerTookOver): number => answerMsMax + bootMsMax

/**
 * The work of a class and its time, as it waits. Begun again it does all of its work again, so as much time as the work takes is
 * kept free for what may be lost on spot.
 */
const timesOf = ({ deadlineAtMs = 0, oldestSinceMs, workLeftMs = 0 }: Class, bounds: BrokerTookOver, atMs: number): { readonly terms: Terms; readonly leftMs: number } => ({
  terms: { workMs: workLeftMs, allowedMs: Math.max(workLeftMs, deadlineAtMs - oldestSinceMs - workLeftMs), restartMs: startMsOf(bounds), lookEveryMs },
  leftMs: deadlineAtMs - atMs - workLeftMs
})

/**
 * How work is sought that has a deadline and tolerates spot: on spot while that cannot cost it its deadline, on what cannot be taken
 * back from then on, and not at all while it may wait for spot. Other work is sought as it is. `nextPlace` decides.
 */
export const steered = (state: State, classes: ReadonlyArray<Class>, choices: () => ReadonlyArray<Choice>, atMs: number): ReadonlyArray<Class> =>
  classes.flatMap((one) => {
    const { bounds } = state
    if (one.deadlineAtMs === undefined || bounds === undefined || !toleratesSpot(one)) return [one]
    const { leftMs, terms } = timesOf(one, bounds, atMs)
    const spots = choices().filter((choice) => choice.column.market === "spot" && fitting(one, roomOfChoice(choice)) > 0)
    const moment: Moment = {
      leftMs, workLeftMs: terms.workMs, restartLeftMs: 0, place: { on: "nothing" },
      open: spots.map((_, at) => at),
      outlook: spots.map(({ column, provider }) => chanceOf(state.chances, provider, column, atMs).permille / 1000)
    }
    switch (nextPlace(terms, moment).on) {
      case "spot":
        return [one]
      case "on_demand":
        return [{ ...one, where: { ...one.where, spot: "never" } }]
      case "nothing":
        return []
    }
  })

/** When spot begins to be a danger to the deadlines of what waits. */
export const dangersMs = ({ bounds, demand }: State): ReadonlyArray<number> =>
  bounds === undefined ? [] : (demand?.fact.classes ?? []).flatMap((one) =>
    one.deadlineAtMs === undefined || !toleratesSpot(one) ? [] : [one.deadlineAtMs - 2 * (one.workLeftMs ?? 0) - 2 * startMsOf(bounds) - lookEveryMs + 1])
