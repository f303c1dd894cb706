import { assert, describe, it } from "@effect/vitest"
import { type MillFact, type PlacementMade, WorkspaceName } from "@millrace/schemas"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { type GpuHealth, type GpuLook, noHealth } from "../domain/gpu-health.ts"
import type { GpuReading } from "../domain/gpu-symptoms.ts"
import { withGpus } from "../machine/gpus.ts"
import { Site } from "../testing/agent.ts"
import { capabilities, placement, workspace } from "../testing/placement.ts"

const readings = [0, 1].map((index): GpuReading => ({ index, uuid: `GPU-${index}`, name: "H100", memoryMib: 80_000, busId: `0000:0${index}:00` }))

/** A machine with two GPUs, whose driver says what the test says. */
const machine = Effect.gen(function*() {
  const site = yield* Site.make
  const driver = { look: { readings, xids: [] } as GpuLook, passes: false, tested: [] as Array<number>, kept: noHealth as GpuHealth, keeps: 0 }
  site.gpus = {
    readings,
    look: (health) => Effect.sync(() => ({ look: driver.look, health })),
    test: ({ index }) => Effect.sync(() => {
      driver.tested.push(index)
      return { passed: driver.passes, test: "a test" }
    }),
    remembered: Effect.sync(() => driver.kept),
    remember: (health) => Effect.sync(() => {
      driver.kept = health
      driver.keeps += 1
    })
  }
  site.capabilities = withGpus(capabilities, site.gpus)
  return { site, driver }
})

const brief = (event: MillFact): string =>
  event._tag === "GpuSuspected" ? `suspected ${event.gpu}: ${event.symptom}` : event._tag === "GpuCleared" ? `cleared ${event.gpu}: ${event.test}` : event._tag
const told = (site: Site) => Effect.map(site.saidOfItself, (facts) => facts.map(({ event }) => brief(event)).filter((text) => text !== "HostJoined"))
const after = (site: Site, seconds: number) => Effect.andThen(TestClock.adjust(`${seconds} seconds`), site.settle)

const onGpu = (site: Site, name: string, gpu: number, sequence: number, of = workspace) => Effect.suspend(() => {
  const plain = placement(name, { sequence, spec: { runMsMax: 3_600_000, resources: { cpuMilli: 100, memoryMib: 10, diskMib: 0, gpus: 1 } } })
  const made: PlacementMade = { ...plain, workspace: of, gpus: [gpu], warrant: { ...plain.warrant, gpus: [gpu] } }
  return Effect.tap(site.signed(made), (signed) => site.hear(signed))
})

const fallen: GpuLook = { readings, xids: [{ busId: "0000:01:00", code: 79 }] }
const words = (text: string) => [{ name: "stderr", bytes: Buffer.from(text), droppedBytes: 0 }]

describe("a host with GPUs", () => {
  it.effect("says that one is suspected, tests it when its work is over, and says that it passed; an agent that begins anew goes on there", () =>
    Effect.gen(function*() {
      const { driver, site } = yield* machine
      yield* site.start
      const made = yield* onGpu(site, "a", 1, 1)
      driver.look = fallen
      yield* after(site, 10)
      driver.look = { readings, xids: [] }
      assert.deepStrictEqual(yield* told(site), ["suspected 1: Xid 79: it has fallen off the bus"])
      yield* after(site, 120)
      assert.isEmpty(driver.tested, "somebody works there")
      yield* site.kill
      yield* site.start
      assert.deepStrictEqual((yield* told(site)).slice(1), ["suspected 1: Xid 79: it has fallen off the bus"], "who was to hear it may not have")
      site.work.end(made, { code: 1, output: [] })
      yield* site.settle
      yield* after(site, 10)
      assert.deepStrictEqual(driver.tested, [1])
      driver.passes = true
      yield* after(site, 119)
      assert.deepStrictEqual(driver.tested, [1], "it rests after it failed")
      yield* after(site, 10)
      assert.deepStrictEqual((yield* told(site)).slice(2), ["cleared 1: a test"])
      yield* site.kill
      yield* site.start
      assert.lengthOf(yield* told(site), 3, "nothing is left to say")
    }))

  it.effect("suspects the one on which three jobs in a row met the runtime's error, once they are of two workspaces", () =>
    Effect.gen(function*() {
      const { driver, site } = yield* machine
      yield* site.start
      for (const [at, name] of ["a", "b", "c", "d"].entries()) {
        assert.isEmpty(yield* told(site))
        const made = yield* onGpu(site, name, 0, at + 1, name === "d" ? WorkspaceName.make("other") : workspace)
        site.work.end(made, { code: 1, output: words("RuntimeError: CUDA error: unspecified launch failure\n") })
        yield* site.settle
      }
      assert.match((yield* told(site)).join(), /^suspected 0: 3 jobs of 2 workspaces after each other ended there with "unspecified launch failure"$/u)
      assert.deepStrictEqual(driver.kept.devices.map(({ suspicion }) => suspicion === undefined), [false, true])
    }))

  it.effect("writes nothing while nothing changes", () =>
    Effect.gen(function*() {
      const { driver, site } = yield* machine
      yield* site.start
      yield* after(site, 10)
      const keeps = driver.keeps
      yield* after(site, 100)
      assert.strictEqual(driver.keeps, keeps)
      assert.isEmpty(yield* told(site))
    }))
})
