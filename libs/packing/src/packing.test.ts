import { describe, expect, it } from "vitest"
import { Fleet, type Host } from "./index.ts"

const host = (id: string, more: Partial<Host> = {}): Host => ({ id, cpuMilli: 96_000, memoryMib: 393_216, diskMib: 100_000, gpus: 8, gpuModel: "G2", kinds: 1, open: true, ...more })
const ask = { cpuMilli: 8_000, memoryMib: 32_768, diskMib: 0, gpus: 1, kinds: 1 }

describe("a fleet", () => {
  it("gives back exactly what was taken since a mark, and nests", () => {
    const fleet = new Fleet()
    fleet.addHost(host("a"))
    const outer = fleet.mark()
    const first = fleet.choose(ask)!
    fleet.take("a", first.placed)
    const inner = fleet.mark()
    const second = fleet.choose(ask)!
    expect(second.placed.gpus).not.toEqual(first.placed.gpus)
    fleet.take("a", second.placed)
    fleet.setOpen("a", false)
    fleet.rollback(inner)
    expect(fleet.free("a").gpus).toBe(7)
    expect(fleet.choose(ask)).toEqual(second)
    fleet.rollback(outer)
    expect(fleet.choose(ask)).toEqual(first)
  })

  it("looks at a later fallback only where none of an earlier has room", () => {
    const fleet = new Fleet()
    fleet.addHost(host("a", { gpuModel: "L4", gpuMemoryMib: 23_034 }))
    fleet.addHost(host("b", { gpuModel: "H100", gpus: 1, gpuMemoryMib: 81_559 }))
    const models = [{ model: "H100" }, { memoryMibMin: 20_000 }]
    const first = fleet.choose({ ...ask, models })!
    expect([first.host, first.reason.fallback]).toEqual(["b", 0])
    fleet.take("b", first.placed)
    const second = fleet.choose({ ...ask, models })!
    expect([second.host, second.reason.fallback]).toEqual(["a", 1])
  })

  it("compares all hosts that have room, and not the first of them", () => {
    const fleet = new Fleet()
    const many = 5_000
    for (let number = 0; number < many; number += 1) fleet.addHost(host(`h${String(number).padStart(6, "0")}`))
    const last = `h${String(many - 1).padStart(6, "0")}`
    // The one of which most is taken already: what is left of it fits, and all others stay whole.
    const { placed } = fleet.choose({ ...ask, gpus: 7, cpuMilli: 7_000, memoryMib: 7_000 })!
    fleet.take(last, placed)
    const choice = fleet.choose(ask)!
    expect([choice.host, choice.reason.fitting]).toEqual([last, many])
  })
})
