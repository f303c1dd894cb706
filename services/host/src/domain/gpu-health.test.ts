import { assert, describe, it } from "vitest"
import { dueForTest, ended, type GpuHealth, type GpuLook, type Judged, looked, noHealth, takenUp, tested } from "./gpu-health.ts"
import type { GpuReading } from "./gpu-symptoms.ts"

const reading = (index: number, more: Partial<GpuReading> = {}): GpuReading => ({ index, uuid: `GPU-${index}`, name: "H100", memoryMib: 80_000, busId: `0000:0${index}:00`, eccUncorrected: 0, ...more })
const two = [reading(0), reading(1)]
const look = (more: Partial<GpuLook> = {}): GpuLook => ({ readings: two, xids: [], ...more })
const begun = takenUp(noHealth, two, 0).health
const said = ({ words }: Judged) => words.map((word) => `${word._tag} ${word.gpu}: ${word._tag === "GpuSuspected" ? word.symptom : word.test}`)
const minute = 60_000
const fallen = (health: GpuHealth, nowMs: number) => looked(health, look({ xids: [{ busId: "0000:01:00", code: 79 }] }), nowMs)

describe("what a host makes of its GPUs", () => {
  it("a symptom is said once, of the device that shows it", () => {
    const first = fallen(begun, 10)
    assert.deepStrictEqual(said(first), ["GpuSuspected 1: Xid 79: it has fallen off the bus"])
    assert.deepStrictEqual(said(fallen(first.health, 20)), [])
    assert.deepStrictEqual(said(looked(begun, look({ xids: [{ busId: "0000:01:00", code: 31 }, { busId: "0000:09:00", code: 79 }] }), 10)), [])
  })

  it("errors of its memory count from when it was looked at last", () => {
    const grown = looked(begun, look({ readings: [reading(0, { eccUncorrected: 2 }), reading(1)] }), 10)
    assert.deepStrictEqual(said(grown), ["GpuSuspected 0: 2 uncorrectable memory errors more"])
    const cleared = tested(grown.health, "GPU-0", { passed: true, test: "t" }, minute).health
    assert.deepStrictEqual(said(looked(cleared, look({ readings: [reading(0, { eccUncorrected: 2 }), reading(1)] }), 2 * minute)), [])
  })

  it("one that the tool no longer lists is suspected at once, a tool that is silent only after the third time", () => {
    assert.deepStrictEqual(said(looked(begun, look({ readings: [reading(0)] }), 10)), ["GpuSuspected 1: its driver no longer knows it"])
    const silent = { readings: undefined, complaint: "Failed to initialize NVML", xids: [] }
    const twice = looked(looked(begun, silent, 1).health, silent, 2)
    assert.deepStrictEqual(said(twice), [])
    assert.lengthOf(looked(twice.health, silent, 3).words, 2)
    assert.deepStrictEqual(said(looked(looked(twice.health, look(), 3).health, silent, 4)), [], "it has answered in between")
    const named = { ...silent, complaint: "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error", lost: "0000:01:00" }
    assert.deepStrictEqual(said(looked(begun, named, 1)), [`GpuSuspected 1: its driver no longer knows it: ${named.complaint}`])
    assert.lengthOf(looked(looked(looked(begun, named, 1).health, named, 2).health, named, 3).words, 0, "the others are not meant")
  })

  it("three different jobs in a row, of more than one workspace, that end there with the runtime's errors speak against it; one that ends well in between does not", () => {
    const end = (health: GpuHealth, jobId: string, error: string | undefined, well = false) => ended(health, { gpus: [1], workspace: jobId < "c" ? "acme" : "other", jobId, well, error }, 5)
    const row = (...ends: ReadonlyArray<readonly [string, string | undefined, boolean?]>) =>
      ends.reduce<Judged>(({ health, words }, [jobId, error, well]) => {
        const next = end(health, jobId, error, well)
        return { health: next.health, words: [...words, ...next.words] }
      }, { health: begun, words: [] })
    const bad = "unspecified launch failure"
    assert.deepStrictEqual(said(row(["a", bad], ["b", bad], ["c", bad])), [`GpuSuspected 1: 3 jobs of 2 workspaces after each other ended there with "${bad}"`])
    assert.deepStrictEqual(said(row(["a", bad], ["a", bad], ["a", bad], ["b", bad])), [], "one job's own bug")
    assert.deepStrictEqual(said(row(["a", bad], ["b", bad], ["c", undefined, true], ["d", bad], ["e", bad])), [])
    assert.lengthOf(row(["a", bad], ["b", bad], ["c", undefined], ["d", bad]).words, 1, "another failure says nothing")
    const alone = row(...["a1", "a2", "a3", "a4", "b5"].map((jobId) => [jobId, bad] as const))
    assert.deepStrictEqual(said(alone), [], "whoever has a workspace may print what it likes")
    assert.lengthOf(end(alone.health, "c", bad).words, 1)
    const older = { ...begun, devices: begun.devices.map((device) => ({ ...device, badEnds: ["job_1", "job_2"] })) }
    assert.deepStrictEqual(said(end(older, "c", bad)), [], "of ends that were noted without their workspace nobody knows whose they were")
  })

  it("it is tested when it has rested and nobody uses it, and rests twice as long after each failure, an hour at most", () => {
    let health = fallen(begun, 0).health
    assert.isEmpty(dueForTest(health, new Set(), minute - 1))
    assert.isEmpty(dueForTest(health, new Set([1]), minute))
    assert.deepStrictEqual(dueForTest(health, new Set([0]), minute).map(({ index }) => index), [1])
    let nowMs = minute
    for (const minutes of [2, 4, 8, 16, 32, 60, 60]) {
      health = tested(health, "GPU-1", { passed: false, test: "t" }, nowMs).health
      assert.isEmpty(dueForTest(health, new Set(), nowMs + minutes * minute - 1))
      nowMs += minutes * minute
      assert.lengthOf(dueForTest(health, new Set(), nowMs), 1)
    }
    const cleared = tested(health, "GPU-1", { passed: true, test: "dcgmi diag -r 1" }, nowMs)
    assert.deepStrictEqual(said(cleared), ["GpuCleared 1: dcgmi diag -r 1"])
    assert.isEmpty(dueForTest(cleared.health, new Set(), nowMs * 2))
  })

  it("one that lapses soon rests longer than the first time, after a day as long", () => {
    const cleared = tested(fallen(begun, 0).health, "GPU-1", { passed: true, test: "t" }, minute).health
    const [soon, later] = [fallen(cleared, 2 * minute).health, fallen(cleared, 86_400_000 + minute).health]
    assert.isEmpty(dueForTest(soon, new Set(), 4 * minute - 1))
    assert.lengthOf(dueForTest(soon, new Set(), 4 * minute), 1)
    assert.lengthOf(dueForTest(later, new Set(), 86_400_000 + 2 * minute), 1)
  })

  it("a symptom that shows while it is suspected puts its test off", () => {
    const again = fallen(fallen(begun, 0).health, 50_000).health
    assert.isEmpty(dueForTest(again, new Set(), minute))
    assert.lengthOf(dueForTest(again, new Set(), 50_000 + minute), 1)
  })

  it("what is remembered holds for the device and not for its number", () => {
    const suspected = fallen(begun, 0).health
    assert.deepStrictEqual(said(takenUp(suspected, two, 10)), ["GpuSuspected 1: Xid 79: it has fallen off the bus"])
    const swapped = takenUp(suspected, [reading(0, { uuid: "GPU-1", busId: "0000:01:00" }), reading(1, { uuid: "GPU-0", busId: "0000:00:00" })], 10)
    assert.deepStrictEqual(said(swapped), ["GpuCleared 1: another device has its number now", "GpuSuspected 0: Xid 79: it has fallen off the bus"])
    assert.deepStrictEqual(swapped.health.devices.map(({ index, uuid }) => [index, uuid]), [[0, "GPU-1"], [1, "GPU-0"]])
  })
})
