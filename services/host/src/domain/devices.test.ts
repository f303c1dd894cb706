import { assert, describe, it } from "@effect/vitest"
import type { PlacementMade, Resources } from "@millrace/schemas"
import { capabilities, factId, hostId, placement } from "../testing/placement.ts"
import { judge, type Local, nothingHeld, type Remembered } from "./attempt.ts"

const gpus = [0, 1, 3].map((index) => ({ index, model: "NVIDIA T4", memoryMib: 15_360 }))
const able = { ...capabilities, resources: { ...capabilities.resources, gpus: gpus.length }, gpus }

/** A placement that asks for some of GPUs, and names these devices. */
const asking = (name: string, wanted: Partial<Resources>, ...devices: ReadonlyArray<number>): PlacementMade => {
  const made = placement(name, { spec: { resources: { cpuMilli: 100, memoryMib: 10, diskMib: 0, gpus: 0, ...wanted } } })
  return { ...made, gpus: devices, warrant: { ...made.warrant, gpus: devices } }
}

const holding = (...made: ReadonlyArray<PlacementMade>): Local => ({
  hostId, capabilities: able, fences: new Map(), nowMs: 0, held: nothingHeld,
  attempts: new Map(made.map((one): readonly [typeof one.attemptId, Remembered] => [one.attemptId, { state: "running", made: one, causedBy: factId("c"), partOf: factId("p") }]))
})

const answerTo = (local: Local, made: PlacementMade): string => {
  const judgement = judge(local, made)
  return judgement.verdict === "refuse" ? `${judgement.reason}: ${judgement.detail}` : judgement.verdict
}

describe("a host judges the devices that a placement names", () => {
  it("gives whole ones and parts, as many parts of one as there is of it", () => {
    assert.strictEqual(answerTo(holding(), asking("a", { gpus: 2 }, 0, 3)), "start")
    const parts = [asking("b", { gpuMilli: 400 }, 1), asking("c", { gpuMilli: 400 }, 1)]
    assert.strictEqual(answerTo(holding(...parts), asking("d", { gpuMilli: 200 }, 1)), "start")
    assert.strictEqual(answerTo(holding(...parts), asking("d", { gpuMilli: 300 }, 1)), "no_room: 200 thousandths of device 1 are free")
    assert.strictEqual(answerTo(holding(...parts), asking("d", { gpus: 1 }, 1)), "no_room: 200 thousandths of device 1 are free")
    assert.strictEqual(answerTo(holding(asking("b", { gpus: 1 }, 0)), asking("d", { gpuMilli: 1 }, 0)), "no_room: 0 thousandths of device 0 are free")
  })

  it("gives none that it does not have, and says so where it has none at all", () => {
    assert.strictEqual(answerTo(holding(), asking("a", { gpus: 1 }, 2)), "no_room: this host has no device 2")
    assert.strictEqual(answerTo({ ...holding(), capabilities: { ...able, gpus: [] } }, asking("a", { gpus: 1 }, 0)), "no_room: it asks for a GPU, and this host has none to give")
  })

  it("believes no placement that names other devices than it asks for, or than its warrant names", () => {
    assert.strictEqual(answerTo(holding(), asking("a", { gpus: 2 }, 0)), "warrant_invalid: it asks for 2 GPUs, and 0 is named")
    assert.strictEqual(answerTo(holding(), asking("a", { gpus: 2 }, 0, 0)), "warrant_invalid: it asks for 2 GPUs, and 0, 0 are named")
    assert.strictEqual(answerTo(holding(), asking("a", { gpus: 1 })), "warrant_invalid: it asks for 1 GPUs, and no devices are named")
    const made = asking("a", { gpus: 1 }, 0)
    assert.strictEqual(answerTo(holding(), { ...made, gpus: [1] }), "warrant_invalid: its warrant does not name device 1")
  })
})
