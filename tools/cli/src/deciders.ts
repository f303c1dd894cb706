import type { StreamDecider } from "@millrace/journal"

/** A decider whose every decision can be made again from the log, and what is left out of the comparison. */
export interface Replayable {
  readonly name: string
  readonly load: () => Promise<{ readonly decider: StreamDecider<never>; readonly comparable?: (fact: unknown) => unknown }>
}

const replayable = <State>(decider: StreamDecider<State>, comparable?: (fact: unknown) => unknown) =>
  ({ decider: decider as unknown as StreamDecider<never>, ...(comparable === undefined ? {} : { comparable }) })

/** Every decider that decides by rounds; each is read in only when it is asked for. */
export const deciders: ReadonlyArray<Replayable> = [
  { name: "scheduler", load: () => import("@millrace/scheduler").then(({ comparable, scheduler }) => replayable(scheduler, comparable)) },
  { name: "metering", load: () => import("@millrace/metering").then(({ metering }) => replayable(metering)) },
  { name: "broker", load: () => import("@millrace/broker").then(({ broker, comparable }) => replayable(broker, comparable)) }
]
