import { assert, describe, it } from "@effect/vitest"
import { Sometimes } from "@millrace/sim"
import { runSeed } from "./testing/seeds.ts"

/** How many seeds: so many by themselves, more where somebody asks for them. */
const seeds = Number(process.env["SEEDS"] ?? 60)
const first = Number(process.env["FIRST_SEED"] ?? 0)

/** What the weather must have brought at least once, or these seeds have shown nothing. */
const wanted = [
  "died", "lost", "failing", "refused", "tooMany", "endsRefused", "doubled", "neverUp", "diesEarly", "reclaimed", "stray",
  "ReclaimNoticed", "OrphanFound", "ProviderSuspended", "ProviderResumed", "second attempt",
  "died at create machine before", "died at create machine after", "died at terminate machine before", "died at terminate machine after"
]

describe("whatever the clouds do, and wherever the broker dies", () => {
  it("every machine that costs money is known, or found within a minute and ended within two, and each intent buys one at most", { timeout: 600_000 }, () => {
    const sometimes = new Sometimes()
    let bought = 0
    for (let seed = first; seed < first + seeds; seed += 1) {
      const ran = runSeed(String(seed))
      assert.deepStrictEqual(ran.faults, [], `seed ${seed}: FIRST_SEED=${seed} SEEDS=1 npx vitest run services/broker/src/simulation.test.ts`)
      sometimes.add(ran.sometimes)
      bought += ran.bought
    }
    if (seeds < 50) return
    assert.isAbove(bought, seeds * 3)
    assert.deepStrictEqual(sometimes.missing(wanted), [], JSON.stringify(sometimes))
  })

  it("and a broker that looks too seldom is caught", { timeout: 120_000 }, () => {
    const faults = Array.from({ length: 40 }, (_, seed) => seed).values().map((seed) => runSeed(String(seed), { sweepEveryMs: 3_600_000 }).faults).find((one) => one.length > 0)
    assert.match(faults?.[0] ?? "", /costs money, and nobody has found it within 60 s|still costs money/u)
  })
})
