import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Fleet, type Host, Mix, type Placed, type Request, type Starts } from "./index.ts"
import { plainChoice, type PlainHost, roomOf } from "./testing/plain.ts"

const models = [{ gpuModel: "H100", gpuMemoryMib: 81_559 }, { gpuModel: "A10", gpuMemoryMib: 23_028 }, {}] as const
const regions = ["eu", "us"]

const aHost = (id: string): fc.Arbitrary<Host> =>
  fc.record({
    id: fc.constant(id),
    cpuMilli: fc.constantFrom(8_000, 16_000, 32_000),
    memoryMib: fc.constantFrom(16_384, 65_536),
    diskMib: fc.constantFrom(10_000, 100_000),
    gpus: fc.constantFrom(0, 1, 2, 4, 8),
    kinds: fc.constantFrom(1, 3),
    open: fc.constantFrom(true, true, true, false),
    model: fc.constantFrom(...models),
    region: fc.constantFrom(...regions)
  }).map(({ model, region, ...host }) => ({ ...host, ...model, labels: { region } }))

const aRequest: fc.Arbitrary<Request> = fc.record({
  cpuMilli: fc.constantFrom(500, 2_000, 7_000),
  memoryMib: fc.constantFrom(512, 8_192, 20_000),
  diskMib: fc.constantFrom(0, 4_000),
  devices: fc.constantFrom<Partial<Request>>({ gpus: 0 }, { gpus: 1 }, { gpus: 1 }, { gpus: 2 }, { gpus: 8 }, { gpus: 0, gpuMilli: 470 }, { gpus: 0, gpuMilli: 300 }, { gpus: 0, gpuMilli: 810 }, { gpus: 0, gpuMilli: 160 }),
  terms: fc.constantFrom<Partial<Request>>(
    {}, {}, { models: [{ model: "H100" }, { memoryMibMin: 20_000 }] }, { oneOfModels: ["A10"] },
    { where: [{ label: "region", anyOf: ["eu"] }] }, { where: [{ label: "region", anyOf: ["us"], weight: 30 }] }
  ),
  kinds: fc.constantFrom(1, 1, 2)
}).map(({ devices, terms, ...rest }) => ({ gpus: 0, ...rest, ...devices, ...terms }))

type Step =
  | { readonly do: "ask"; readonly request: Request; readonly starts: Starts | undefined }
  | { readonly do: "end"; readonly which: number }
  | { readonly do: "open"; readonly which: number; readonly open: boolean }
  | { readonly do: "suspect"; readonly which: number; readonly devices: ReadonlyArray<number> }
  | { readonly do: "change"; readonly which: number; readonly to: Host }
  | { readonly do: "leave"; readonly which: number }
  | { readonly do: "try"; readonly requests: ReadonlyArray<Request> }

const idOf = (number: number) => `hst_${String(number).padStart(2, "0")}`

const aStart: fc.Arbitrary<Starts | undefined> = fc.option(
  fc.record({ usualMs: fc.constantFrom(0, 20_000), at: fc.array(fc.tuple(fc.nat(6).map(idOf), fc.nat(60_000))).map((named) => new Map(named)) }), { nil: undefined, freq: 3 }
)

const aStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant("ask" as const), request: aRequest, starts: aStart }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("end" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("open" as const), which: fc.nat(), open: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("suspect" as const), which: fc.nat(), devices: fc.subarray([0, 1, 2, 3]) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("change" as const), which: fc.nat(), to: aHost("") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("try" as const), requests: fc.array(aRequest, { maxLength: 3 }) }) }
)

const aStory = fc.record({
  hosts: fc.integer({ min: 1, max: 7 }).chain((count) => fc.tuple(...Array.from({ length: count }, (_, number) => aHost(idOf(number))))),
  /** What was asked for before: mostly enough for something to be typical. */
  before: fc.oneof({ weight: 7, arbitrary: fc.array(aRequest, { minLength: 33, maxLength: 70, size: "max" }) }, { weight: 1, arbitrary: fc.constant<Array<Request>>([]) }),
  steps: fc.array(aStep, { minLength: 5, maxLength: 40, size: "max" })
})

interface Running {
  readonly on: PlainHost
  readonly placed: Placed
}

/** Lives a story on a fleet and in plain lists beside it, and shows both after each choice. */
const live = ({ before, hosts, steps }: typeof aStory extends fc.Arbitrary<infer A> ? A : never, seen: (fleet: Fleet, plain: Array<PlainHost>, request: Request, starts: Starts | undefined) => void): void => {
  const fleet = new Fleet()
  for (const request of before) fleet.mix.learn(request)
  const plain: Array<PlainHost> = hosts.map((host) => ({ host, taken: [], shut: [] }))
  for (const host of [...hosts].reverse()) fleet.addHost(host)
  let running: Array<Running> = []
  const ask = (request: Request, starts: Starts | undefined): Running | undefined => {
    seen(fleet, plain, request, starts)
    const choice = fleet.choose(request, starts)
    if (choice === undefined) return undefined
    const on = plain.find(({ host }) => host.id === choice.host)!
    fleet.take(choice.host, choice.placed)
    on.taken.push(choice.placed)
    return { on, placed: choice.placed }
  }
  const release = ({ on, placed }: Running): void => {
    on.taken.splice(on.taken.indexOf(placed), 1)
  }
  for (const step of steps) {
    if (step.do === "end") {
      if (running.length === 0) continue
      const [ended] = running.splice(step.which % running.length, 1)
      fleet.release(ended!.on.host.id, ended!.placed)
      release(ended!)
      continue
    }
    if (step.do === "ask") {
      fleet.mix.learn(step.request)
      const placed = ask(step.request, step.starts)
      if (placed !== undefined) running.push(placed)
      continue
    }
    if (step.do === "try") {
      const mark = fleet.mark()
      for (const tried of step.requests.map((request) => ask(request, undefined))) if (tried !== undefined) release(tried)
      fleet.rollback(mark)
      continue
    }
    if (plain.length === 0) continue
    const one = plain[step.which % plain.length]!
    switch (step.do) {
      case "open":
        fleet.setOpen(one.host.id, step.open)
        one.host = { ...one.host, open: step.open }
        break
      case "suspect":
        fleet.shutDevices(one.host.id, step.devices)
        one.shut = step.devices
        break
      case "change":
        one.host = { ...step.to, id: one.host.id }
        fleet.changeHost(one.host)
        break
      case "leave":
        fleet.removeHost(one.host.id)
        plain.splice(plain.indexOf(one), 1)
        running = running.filter(({ on }) => on !== one)
        break
    }
  }
}

const runs = { numRuns: 150 }

describe("whatever came and went", () => {
  it("the choice is that of the plain reference, and costs what the reason says", () => {
    let placed = 0
    let informed = 0
    fc.assert(fc.property(aStory, (story) => {
      live(story, (fleet, plain, request, starts) => {
        const fast = fleet.choose(request, starts)
        const slow = plainChoice(plain, fleet.mix, request, starts)
        expect(fast && { host: fast.host, placed: fast.placed }).toEqual(slow && { host: slow.host, placed: slow.placed })
        expect(fleet.hasRoom(request)).toBe(fast !== undefined)
        const fitting = plain.filter(({ host }) => fleet.fits(host.id, request))
        expect(fitting.length > 0).toBe(fast !== undefined)
        for (const one of fitting) expect(plainChoice([one], fleet.mix, request, starts)?.host).toBe(one.host.id)
        if (fast === undefined) return
        placed += 1
        if (fast.reason.scarcity > 0 && fast.reason.fragmentation !== 0) informed += 1
        expect(fast.reason.points).toBeCloseTo(slow!.points, 3)
        expect(fast.reason.points).toBeCloseTo(fast.reason.fragmentation + fast.reason.scarcity + fast.reason.start + fast.reason.preferences, 6)
      })
    }), runs)
    expect(placed).toBeGreaterThan(300)
    expect(informed).toBeGreaterThan(300)
  })

  it("nothing is taken beyond what there is, and devices are distinct and open", () => {
    fc.assert(fc.property(aStory, (story) => {
      live(story, (fleet, plain, request) => {
        const choice = fleet.choose(request)
        if (choice === undefined) return
        const one = plain.find(({ host }) => host.id === choice.host)!
        const { cpuMilli, devices, diskMib, memoryMib } = roomOf(one)
        const { placed } = choice
        expect(one.host.open && placed.cpuMilli <= cpuMilli && placed.memoryMib <= memoryMib && placed.diskMib <= diskMib).toBe(true)
        expect(new Set(placed.gpus).size).toBe(request.gpuMilli === undefined ? request.gpus : 1)
        for (const gpu of placed.gpus) expect(devices[gpu]).toBeGreaterThanOrEqual(placed.gpuMilli)
      })
    }), runs)
  })

  it("a fleet that was put together anew, with its mix loaded, chooses the same", () => {
    fc.assert(fc.property(aStory, (story) => {
      live(story, (fleet, plain, request, starts) => {
        const again = new Fleet(Mix.from(JSON.parse(JSON.stringify(fleet.mix.saved())) as ReturnType<Mix["saved"]>))
        for (const { host, shut, taken } of plain) {
          again.addHost(host)
          again.shutDevices(host.id, shut)
          for (const placed of taken) again.take(host.id, placed)
        }
        expect(again.choose(request, starts)).toEqual(fleet.choose(request, starts))
        for (const { host } of plain) expect(again.free(host.id)).toEqual(fleet.free(host.id))
      })
    }), { numRuns: 100 })
  })
})
