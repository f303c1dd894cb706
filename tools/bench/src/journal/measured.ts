import { Effect } from "effect"
import { quantile, rounded } from "../figures.ts"

/** How fast something went, and what it cost this process: clients only, the server's CPU is its own. */
export interface Rate {
  readonly perS: number
  readonly cpuUsEach: number
}

/** Runs work that counts as `count` of something. */
export const rateOf = Effect.fnUntraced(function*<E, R>(count: number, work: Effect.Effect<unknown, E, R>): Effect.fn.Return<Rate, E, R> {
  const cpu = process.cpuUsage()
  const fromMs = performance.now()
  yield* work
  const tookMs = performance.now() - fromMs
  const { system, user } = process.cpuUsage(cpu)
  return { perS: rounded((count / tookMs) * 1000), cpuUsEach: rounded((user + system) / count) }
})

/** Ours beside the bare one of the same run. A ratio of 1 means that ours costs nothing. */
export const beside = (bare: Rate, ours: Rate) => ({ bare, ours, ratio: rounded(ours.perS / bare.perS) })

/** What two ways of doing the same thing take, in ms, turn by turn, so that both meet the same machine. */
export const turnByTurn = Effect.fnUntraced(function*<E, R>(
  rounds: number,
  { bare, ours }: { readonly bare: (round: number) => Effect.Effect<unknown, E, R>; readonly ours: (round: number) => Effect.Effect<unknown, E, R> }
) {
  const took = { bare: [] as Array<number>, ours: [] as Array<number> }
  for (let round = 0; round < rounds; round += 1) {
    for (const [who, once] of [["bare", bare], ["ours", ours]] as const) {
      const fromMs = performance.now()
      yield* once(round)
      took[who].push(performance.now() - fromMs)
    }
  }
  return { bare: spread(took.bare), ours: spread(took.ours) }
})

const spread = (ms: ReadonlyArray<number>) => ({ msP50: rounded(quantile(ms, 0.5)), msP99: rounded(quantile(ms, 0.99)) })
