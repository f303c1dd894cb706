import type { Host, Request } from "@millrace/packing"
import { readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"

/** One arrival, as the lines of an arrivals file have it. */
export interface Arrival {
  readonly i: number
  readonly name: string
  readonly cpuMilli: number
  readonly memoryMib: number
  /** Devices, and how much of each: 1000 is the whole of it. */
  readonly devices: number
  readonly deviceMilli: number
  /** Models that will do; empty means any. */
  readonly models: ReadonlyArray<string>
}

/** What a file says, whether it is compressed or not. */
export const textOf = (path: string): string => {
  const bytes = readFileSync(path)
  return (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString("utf8")
}

/** The rows of a table with a header, by the names of its columns. */
export const rowsOf = (text: string): ReadonlyArray<Readonly<Record<string, string>>> => {
  const [header = "", ...lines] = text.split(/\r?\n/u).filter((line) => line !== "")
  const names = header.split(",")
  return lines.map((line) => {
    const cells = line.split(",")
    return Object.fromEntries(names.map((name, at) => [name, cells[at] ?? ""]))
  })
}

const numberIn = (row: Readonly<Record<string, unknown>>, column: string): number => {
  const value = Number(row[column])
  if (row[column] === undefined || row[column] === "" || !Number.isFinite(value) || value < 0) throw new Error(`column ${column} holds ${JSON.stringify(row[column])} where an amount is wanted: ${JSON.stringify(row)}`)
  return Math.round(value)
}

/** Hosts of a node list (sn,cpu_milli,memory_mib,gpu,model), in the order of their names. */
export const hostsOf = (text: string): ReadonlyArray<Host> =>
  rowsOf(text).map((row): Host => ({
    id: row["sn"]!, cpuMilli: numberIn(row, "cpu_milli"), memoryMib: numberIn(row, "memory_mib"), diskMib: 0,
    gpus: numberIn(row, "gpu"), gpuModel: row["model"] === "" ? undefined : row["model"], kinds: 0, open: true
  })).sort((left, right) => (left.id < right.id ? -1 : 1))

const arrivalOf = (row: Readonly<Record<string, unknown>>, i: number): Arrival => {
  const devices = numberIn(row, "num_gpu")
  const part = row["gpu_milli"] === undefined || row["gpu_milli"] === "" ? 0 : numberIn(row, "gpu_milli")
  return {
    i,
    name: String(row["name"] ?? i),
    cpuMilli: numberIn(row, "cpu_milli"),
    memoryMib: numberIn(row, "memory_mib"),
    devices,
    deviceMilli: devices === 0 ? 0 : devices === 1 && part > 0 && part < 1000 ? part : 1000,
    models: String(row["gpu_spec"] ?? "").split("|").filter((model) => model !== "")
  }
}

/** An arrivals file: one JSON a line, in order. */
export const arrivalsOf = (text: string): ReadonlyArray<Arrival> =>
  text.split("\n").filter((line) => line.trim() !== "").map((line, at) => {
    const row = JSON.parse(line) as Record<string, unknown>
    return arrivalOf(row, typeof row["i"] === "number" ? row["i"] : at)
  })

export const milliOf = ({ deviceMilli, devices }: Arrival): number => devices * deviceMilli

/**
 * The arrivals that a pod list and a seed make: sorted by name, shuffled, then drawn again and again until they ask
 * for so much (Weng et al., USENIX ATC 2023, artifact: "tune 1.3").
 */
export const drawn = (text: string, seed: number, milliMin: number): ReadonlyArray<Arrival> => {
  const pods = rowsOf(text).map(arrivalOf).sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0))
  if (!pods.some((pod) => milliOf(pod) > 0)) throw new Error("no pod of the list asks for a GPU: the arrivals would never fill the fleet")
  const random = randomOf(seed)
  const arrivals = [...pods]
  for (let at = arrivals.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1))
    const held = arrivals[at]!
    arrivals[at] = arrivals[other]!
    arrivals[other] = held
  }
  let milli = arrivals.reduce((sum, pod) => sum + milliOf(pod), 0)
  while (milli < milliMin) {
    const pod = pods[Math.floor(random() * pods.length)]!
    arrivals.push(pod)
    milli += milliOf(pod)
  }
  return arrivals.map((pod, i) => ({ ...pod, i }))
}

/** Mulberry32: small, and the same on every machine. */
export const randomOf = (seed: number): () => number => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

export const requestOf = ({ cpuMilli, deviceMilli, devices, memoryMib, models }: Arrival): Request => ({
  cpuMilli, memoryMib, diskMib: 0, kinds: 0,
  ...(deviceMilli > 0 && deviceMilli < 1000 ? { gpus: 0, gpuMilli: deviceMilli } : { gpus: devices }),
  ...(models.length > 0 && devices > 0 ? { oneOfModels: models } : {})
})
