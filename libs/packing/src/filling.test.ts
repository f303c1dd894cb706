import { describe, expect, it } from "vitest"
import { Fleet, type Host, type Request } from "./index.ts"
import { Patterns } from "./patterns.ts"

/** Numbers that look like chance and are the same everywhere. */
const numbers = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >>> 8) % below
  }
}

const hosts = Array.from({ length: 48 }, (_, number): Host => ({
  id: `hst_${String(number).padStart(2, "0")}`,
  ...(number % 3 === 0 ? { gpuModel: "T4", gpus: 2, cpuMilli: 104_000, memoryMib: 524_288 } : { gpuModel: "G2", gpus: 8, cpuMilli: 96_000, memoryMib: 393_216 }),
  diskMib: 0, kinds: 0, open: true
}))
const capacityMilli = hosts.reduce((sum, { gpus }) => sum + gpus * 1000, 0)

const sizes: ReadonlyArray<Partial<Request>> = [
  { gpus: 1 }, { gpus: 1 }, { gpus: 1 }, { gpus: 1, oneOfModels: ["T4"] }, { gpus: 4 }, { gpus: 8 },
  { gpuMilli: 470 }, { gpuMilli: 470 }, { gpuMilli: 530 }, { gpuMilli: 650 }, { gpuMilli: 320 }, { gpuMilli: 810 }, {}
]

const arrivals = (seed: number): ReadonlyArray<Request> => {
  const number = numbers(seed)
  const all: Array<Request> = []
  for (let milli = 0; milli < capacityMilli;) {
    const size = sizes[number(sizes.length)]!
    const devices = Math.max(1, size.gpus ?? 0)
    all.push({ gpus: 0, cpuMilli: devices * (3 + number(8)) * 1000, memoryMib: devices * (8 + number(32)) * 1024, diskMib: 0, kinds: 0, ...size })
    milli += size.gpuMilli ?? (size.gpus ?? 0) * 1000
  }
  return all
}

/** How many thousandths of all devices are given out when as much was asked for as there is, and to how many. */
const filled = (seed: number, place: (fleet: Fleet, request: Request) => void) => {
  const fleet = new Fleet()
  for (const host of hosts) fleet.addHost(host)
  for (const request of arrivals(seed)) place(fleet, request)
  const free = hosts.reduce((sum, { id }) => sum + fleet.free(id).gpuMilli, 0)
  return Math.round((1000 * (capacityMilli - free)) / capacityMilli)
}

const ours = (fleet: Fleet, request: Request): void => {
  fleet.mix.learn(request)
  const choice = fleet.choose(request)
  if (choice !== undefined) fleet.take(choice.host, choice.placed)
}

/** Learns nothing, so that every host costs the same: the fullest that has room, and its first device that has. */
const unlearned = (fleet: Fleet, request: Request): void => {
  const choice = fleet.choose(request)
  if (choice !== undefined) fleet.take(choice.host, choice.placed)
}

describe("a fleet that fills up", () => {
  it("gives out as much as it did when this was written", () => {
    expect([1, 2, 3, 4].map((seed) => filled(seed, ours))).toMatchInlineSnapshot(`
      [
        968,
        947,
        973,
        972,
      ]
    `)
  })

  it("gives out more than one that does not know what is typical", () => {
    const gains = [1, 2, 3, 4, 5, 6].map((seed) => filled(seed, ours) - filled(seed, unlearned))
    expect(gains.reduce((sum, gain) => sum + gain, 0)).toBeGreaterThan(0)
  })
})

describe("patterns of a device", () => {
  const typical = (counts: ReadonlyArray<readonly [milli: number, count: number]>) =>
    counts.map(([gpuMilli, count]) => ({ count, request: { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0, gpuMilli, kinds: 0 } }))

  it("what fits its like exactly costs what it takes, and what leaves a useless rest costs all of it", () => {
    const { worth } = new Patterns(typical([[810, 100], [470, 80], [160, 3]]))
    expect([worth[810], worth[470], worth[160], worth[190]].map((one) => Number(one!.toFixed(6)))).toEqual([1, 0.5, 0, 0])
  })

  it("where two sizes complete each other, the rest of one is worth the other", () => {
    const patterns = new Patterns(typical([[700, 50], [300, 50]]))
    expect(patterns.cost(1000, 700) + patterns.cost(300, 300)).toBeCloseTo(1)
    // On what a 700 has left, a 300 costs no more than anywhere; on an empty device it breaks what three 300s could use.
    expect(patterns.cost(300, 300)).toBeLessThanOrEqual(patterns.cost(1000, 300) + 1e-9)
  })

  it("no pattern of parts is worth more than a device, and each part is in one that is worth all of it", () => {
    const number = numbers(7)
    for (let round = 0; round < 40; round += 1) {
      const counts = new Map(Array.from({ length: 1 + number(8) }, () => [50 + number(950), 1 + number(500)] as const))
      const { worth } = new Patterns(typical([...counts]))
      expect(worth[1000]).toBeCloseTo(1)
      for (const milli of counts.keys()) expect(worth[milli]! + worth[1000 - milli]!).toBeLessThanOrEqual(1 + 1e-9)
      const best = Math.max(...[...counts.keys()].map((milli) => worth[milli]! + worth[1000 - milli]!))
      expect(best).toBeCloseTo(1)
    }
  })
})
