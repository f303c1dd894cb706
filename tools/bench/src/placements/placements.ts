import { Fleet, type Host, type Placed, type Request } from "@millrace/packing"
import { Effect } from "effect"
import type { Bench } from "../main.ts"
import { quantile, rounded } from "../figures.ts"
import { randomOf } from "../packing/openb.ts"

/** The fleet is filled this far before anything is timed, and stays there: each arrival is followed by an end. */
const filledShare = 0.8
const devicesEach = 8

/**
 * Decisions a second where work comes and goes: every arrival is learnt from, placed and taken, and something that
 * runs ends. The floor is a bare loop over arrays that takes the first host with room and knows nothing else.
 */
export const bench = ({ quick, say }: Bench) =>
  Effect.sync(() =>
    (quick ? [1_000] : [1_000, 5_000, 10_000]).map((hosts) => {
      const requests = quick ? 5_000 : 50_000
      const ours = oursOver(hosts, requests)
      say(`${hosts} hosts: ${ours.decisionsPerSecond} a second, p99 ${ours.p99Ms} ms`)
      return { hosts, gpus: hosts * devicesEach, requests, ...ours, floorFirstFitPerSecond: floorOver(hosts, requests) }
    }))

const models = [
  { gpuModel: "H100", gpuMemoryMib: 81_559 },
  { gpuModel: "A100-80GB", gpuMemoryMib: 81_920 },
  { gpuModel: "L40S", gpuMemoryMib: 46_068 },
  { gpuModel: "A10", gpuMemoryMib: 23_028 }
]
const regions = ["eu-west", "us-east", "us-west"]

const hostOf = (number: number): Host => ({
  id: `hst_${String(number).padStart(6, "0")}`, cpuMilli: 128_000, memoryMib: 1_048_576, diskMib: 4_000_000, gpus: devicesEach,
  ...models[number % models.length]!, kinds: 1, labels: { region: regions[number % regions.length]! }, open: true
})

/** Sixty ways to ask: whole devices and parts, with and without a model, in a region or anywhere. */
const asks: ReadonlyArray<Request> = Array.from({ length: 60 }, (_, number): Request => {
  const sizes = [{ gpus: 1 }, { gpus: 0, gpuMilli: 470 }, { gpus: 1 }, { gpus: 0, gpuMilli: 250 }, { gpus: 2 }, { gpus: 0, gpuMilli: 650 }, { gpus: 4 }, { gpus: 0 }, { gpus: 1 }, { gpus: 8 }] as const
  const size = sizes[number % sizes.length]!
  const devices = "gpuMilli" in size ? 1 : size.gpus
  return {
    ...size, kinds: 1, diskMib: 10_000,
    cpuMilli: Math.max(1, devices) * (4_000 + 1_000 * (number % 7)),
    memoryMib: Math.max(1, devices) * (16_384 + 8_192 * (number % 5)),
    ...(number % 3 === 0 && devices > 0 ? { models: [{ model: models[number % 4]!.gpuModel }, { memoryMibMin: 40_000 }] } : {}),
    ...(number % 4 === 0 ? { where: [{ label: "region", anyOf: [regions[number % 3]!] }] } : number % 5 === 0 ? { where: [{ label: "region", anyOf: [regions[number % 3]!], weight: 5 }] } : {})
  }
})

const milliOf = ({ gpuMilli, gpus }: Request): number => gpuMilli ?? gpus * 1000

interface Running {
  readonly host: string
  readonly placed: Placed
}

const oursOver = (hosts: number, requests: number) => {
  const fleet = new Fleet()
  for (let number = 0; number < hosts; number += 1) fleet.addHost(hostOf(number))
  const random = randomOf(1)
  const running: Array<Running> = []
  const capacity = hosts * devicesEach * 1000
  let used = 0
  const place = (request: Request): boolean => {
    fleet.mix.learn(request)
    const choice = fleet.choose(request)
    if (choice === undefined) return false
    fleet.take(choice.host, choice.placed)
    running.push({ host: choice.host, placed: choice.placed })
    used += milliOf(request)
    return true
  }
  const endSome = (): void => {
    while (used > filledShare * capacity) {
      const at = Math.floor(random() * running.length)
      const ended = running[at]!
      running[at] = running[running.length - 1]!
      running.pop()
      fleet.release(ended.host, ended.placed)
      used -= ended.placed.gpuMilli * ended.placed.gpus.length
    }
  }
  const ask = (): Request => asks[Math.floor(random() * asks.length)]!
  while (used < filledShare * capacity) place(ask())
  let refused = 0
  const latenciesMs: Array<number> = []
  const beganMs = performance.now()
  for (let number = 0; number < requests; number += 1) {
    const request = ask()
    const askedMs = performance.now()
    if (!place(request)) refused += 1
    latenciesMs.push(performance.now() - askedMs)
    endSome()
  }
  const tookMs = performance.now() - beganMs
  return {
    decisionsPerSecond: Math.round(requests / tookMs * 1000),
    p50Ms: rounded(quantile(latenciesMs, 0.5)),
    p99Ms: rounded(quantile(latenciesMs, 0.99)),
    mostMs: rounded(quantile(latenciesMs, 1)),
    refused
  }
}

const floorOver = (hosts: number, requests: number): number => {
  const random = randomOf(1)
  const cpuMilli = new Float64Array(hosts).fill(128_000)
  const memoryMib = new Float64Array(hosts).fill(1_048_576)
  const free = new Float64Array(hosts).fill(devicesEach * 1000)
  const running: Array<{ readonly host: number; readonly request: Request }> = []
  const capacity = hosts * devicesEach * 1000
  let used = 0
  const place = (request: Request): void => {
    const milli = milliOf(request)
    for (let host = 0; host < hosts; host += 1) {
      if (cpuMilli[host]! < request.cpuMilli || memoryMib[host]! < request.memoryMib || free[host]! < milli) continue
      cpuMilli[host]! -= request.cpuMilli
      memoryMib[host]! -= request.memoryMib
      free[host]! -= milli
      running.push({ host, request })
      used += milli
      return
    }
  }
  const endSome = (): void => {
    while (used > filledShare * capacity) {
      const at = Math.floor(random() * running.length)
      const { host, request } = running[at]!
      running[at] = running[running.length - 1]!
      running.pop()
      cpuMilli[host]! += request.cpuMilli
      memoryMib[host]! += request.memoryMib
      free[host]! += milliOf(request)
      used -= milliOf(request)
    }
  }
  const ask = (): Request => asks[Math.floor(random() * asks.length)]!
  for (let tries = 0; used < filledShare * capacity && tries < 20 * capacity; tries += 1) place(ask())
  const beganMs = performance.now()
  for (let number = 0; number < requests; number += 1) {
    place(ask())
    endSome()
  }
  return Math.round(requests / (performance.now() - beganMs) * 1000)
}
