import type { Chance } from "@millrace/sim"
import { Effect } from "effect"
import { type Agent, type Cell, keeperOf } from "./cell.ts"

/** Something that may die, and what makes it live again where nobody else does. */
interface Victim {
  readonly name: string
  readonly kill: Effect.Effect<void>
  /** Until it serves again. */
  readonly well: Effect.Effect<void>
  readonly stop: () => void
  readonly goOn: () => void
}

/** One stroke: who is killed, or stands still for how long. */
export interface Stroke {
  readonly victim: string
  readonly stillMs: number | undefined
  /** Until the next one, in ms. */
  readonly pauseMs: number
}

const signalled = (pid: number | undefined, signal: NodeJS.Signals): void => {
  try {
    if (pid !== undefined) process.kill(pid, signal)
  } catch {
    // It died before.
  }
}

/** A machine falls dead: its agent, its keeper, and with that the work. */
export const machineDies = (agent: Agent): Effect.Effect<void> =>
  Effect.suspend(() => {
    signalled(keeperOf(agent), "SIGKILL")
    return agent.kill("SIGKILL")
  })

const victimsOf = ({ agents, postgres, services, stack: { nats } }: Cell): ReadonlyArray<Victim> => {
  const supervised = [...Object.values(services).filter(({ service }) => service !== "host"), ...agents]
  return [
    ...supervised.map(({ kill, name, ready, signal }): Victim => ({ name, well: ready, kill: kill("SIGKILL"), stop: () => signal("SIGSTOP"), goOn: () => signal("SIGCONT") })),
    ...agents.map((agent): Victim => {
      // A keeper that stands still is let go on by its pid: another may have taken its place by then.
      let still: number | undefined
      return {
        name: `the keeper of ${agent.name}`,
        well: agent.ready,
        kill: Effect.sync(() => signalled(keeperOf(agent), "SIGKILL")),
        stop: () => signalled(still = keeperOf(agent), "SIGSTOP"),
        goOn: () => signalled(still, "SIGCONT")
      }
    }),
    ...agents.map((agent): Victim => ({ name: `the machine of ${agent.name}`, well: agent.ready, kill: machineDies(agent), stop: () => agent.signal("SIGSTOP"), goOn: () => agent.signal("SIGCONT") })),
    { name: "nats-server", well: Effect.void, kill: Effect.andThen(nats.kill, Effect.orDie(nats.restart)), stop: () => signalled(nats.pid(), "SIGSTOP"), goOn: () => signalled(nats.pid(), "SIGCONT") },
    { name: "PostgreSQL", well: Effect.void, kill: Effect.andThen(postgres.kill, postgres.start), stop: () => postgres.signal("SIGSTOP"), goOn: () => postgres.signal("SIGCONT") }
  ]
}

/** Every one of them is killed as often, and stands still as often, in an order that the seed decides. */
export const strokes = (cell: Cell, chance: Chance, rounds: number): ReadonlyArray<Stroke> =>
  Array.from({ length: rounds }, () =>
    victimsOf(cell).flatMap(({ name }) => [
      { victim: name, stillMs: undefined, pauseMs: chance.between(50, 500), at: chance.next() },
      { victim: name, stillMs: chance.between(100, 1_500), pauseMs: chance.between(0, 200), at: chance.next() }
    ]).sort((left, right) => left.at - right.at).map(({ at: _, ...stroke }) => stroke)).flat()

/**
 * Strikes one after the other: at each moment at most one stands still. Whoever was struck has served again before
 * it is struck once more, and of hosts one at least: on a machine that is slow, all of this takes longer, and no
 * more of it comes together.
 */
export const strike = (cell: Cell, all: ReadonlyArray<Stroke>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const victims = new Map(victimsOf(cell).map((victim) => [victim.name, victim]))
    return Effect.forEach(all, ({ pauseMs, stillMs, victim }) => {
      const { goOn, kill, stop, well } = victims.get(victim)!
      const isOfHost = cell.agents.some(({ name }) => victim.endsWith(name))
      const hit = stillMs === undefined
        ? kill
        : Effect.acquireUseRelease(Effect.sync(stop), () => Effect.sleep(stillMs), () => Effect.sync(goOn))
      return Effect.all([well, ...(isOfHost ? cell.agents.map(({ ready }) => ready) : []), hit, Effect.sleep(pauseMs)], { discard: true })
    }, { discard: true })
  })
