import { assert, describe, it } from "@effect/vitest"
import { Sometimes } from "@millrace/sim"
import { runSeed } from "./seeds.ts"

/** How many seeds, and from which: a thousand in two halves by themselves, others where somebody asks for them. */
const seeds = Number(process.env["SEEDS"] ?? 1_000)
const first = Number(process.env["FIRST_SEED"] ?? 0)

/** What the weather must have brought at least once, or these seeds have shown nothing. */
const wanted = [
  "crash_point", "lost", "failing", "refused", "tooMany", "endsRefused", "doubled", "neverUp", "diesEarly", "reclaimed", "dawdles", "stray",
  "ended by its dead man", "dead-man time pushed forward", "ReclaimNoticed", "OrphanFound", "GhostFound", "ProviderSuspended", "ProviderResumed", "PlanChosen", "second attempt",
  "taken over", "answered while it stood still", "partition", "leaderless", "lost_answer", "late_request", "append_overtaken",
  ...["append LeaseRequested", "append MachineAskedFor", "create machine", "append LeaseGranted", "append LeaseReleased", "terminate machine", "append LeaseEnded"]
    .flatMap((point) => [`crashed at ${point} before`, `crashed at ${point} after`])
]

/** Runs one half of the seeds, and demands of each what must hold whatever happens. */
export const seedsHold = (half: "first" | "second"): void => {
  describe(`whatever the clouds and the log do, and wherever a broker dies or stands still (the ${half} half of the seeds)`, () => {
    it("every machine that costs money is known, or found within a minute and ended within two, and each intent buys one at most", { timeout: 3_600_000 }, () => {
      const sometimes = new Sometimes()
      const from = first + (half === "first" ? 0 : Math.ceil(seeds / 2))
      const until = half === "first" ? first + Math.ceil(seeds / 2) : first + seeds
      let bought = 0
      for (let seed = from; seed < until; seed += 1) {
        const ran = runSeed(String(seed))
        assert.deepStrictEqual(ran.faults, [], `seed ${seed}: FIRST_SEED=${seed} SEEDS=1 npx vitest run services/broker/src/first-seeds.test.ts`)
        sometimes.add(ran.sometimes)
        bought += ran.bought
      }
      if (until - from < 200) return
      assert.isAbove(bought, (until - from) * 3)
      assert.deepStrictEqual(sometimes.missing(wanted), [], JSON.stringify(sometimes))
    })
  })
}
