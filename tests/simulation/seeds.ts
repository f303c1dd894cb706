import { Sometimes, type Violation } from "@millrace/sim"
import { breaches } from "./laws.ts"
import type { PlantedBugName } from "./planted.ts"
import { countStates } from "./states.ts"
import { type SimulateOptions, simulate } from "./world.ts"

/** A run that broke a law, and the command that brings it back. */
export class SeedFailed extends Error {
  readonly seed: number
  readonly violations: ReadonlyArray<Violation>

  constructor({ bug, contested, seed }: Pick<SimulateOptions, "seed" | "bug" | "contested">, violations: ReadonlyArray<Violation>) {
    super(
      `seed ${seed} broke ${violations.length === 1 ? "a law" : `${violations.length} laws`}:\n` +
        violations.slice(0, 10).map(({ detail, law }) => `  ${law}: ${detail}`).join("\n") +
        `\nBring it back with: npm run sim -- --seed ${seed}${contested === true ? " --contested" : ""}${bug === undefined ? "" : ` --bug ${bug}`}\n` +
        "When it is mended, keep the seed in tests/simulation/regressions.ts."
    )
    this.seed = seed
    this.violations = violations
  }
}

/** Runs one seed and holds it against every law. A run that throws has broken one, too. */
export const tryOne = (options: SimulateOptions): { readonly violations: ReadonlyArray<Violation>; readonly sometimes: Sometimes; readonly virtualMs: number } => {
  try {
    const run = simulate(options)
    countStates(run.history, run.sometimes)
    return { violations: breaches(run), sometimes: run.sometimes, virtualMs: run.virtualMs }
  } catch (cause) {
    const detail = cause instanceof Error ? cause.stack ?? cause.message : String(cause)
    return { violations: [{ law: "a run comes to its end", detail }], sometimes: new Sometimes(), virtualMs: 0 }
  }
}

/** Runs seeds one after the other, both bounds included; fails at the first that breaks a law. */
export const trySeeds = ({ contested = false, from, sometimes, to }: { readonly contested?: boolean; readonly from: number; readonly to: number; readonly sometimes: Sometimes }): void => {
  for (let seed = from; seed <= to; seed += 1) {
    const tried = tryOne({ seed, contested })
    if (tried.violations.length > 0) throw new SeedFailed({ seed, contested }, tried.violations)
    sometimes.add(tried.sometimes.toJSON())
  }
}

/** The first seed that finds a planted bug, by one law where it is named, or nothing within the budget. */
export const firstSeedThatFinds = (bug: PlantedBugName, budget: number, law?: string): number | undefined => {
  for (let seed = 1; seed <= budget; seed += 1) {
    if (tryOne({ seed, bug }).violations.some((violation) => law === undefined || violation.law === law)) return seed
  }
  return undefined
}
