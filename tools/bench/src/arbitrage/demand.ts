import { type Buyable, gpuKind, type WorkClass } from "@millrace/broker/planning"
import { oneOf, seeded } from "../seeded.ts"
import { amount, cell, listed, type Row, yes } from "../table.ts"

/** Demand as it was read, and the rows that made no sense. */
export interface Read {
  readonly classes: ReadonlyArray<WorkClass>
  readonly leftOut: number
}

/** Reads demand; the format is in the README of the benches. */
export const readDemand = (rows: ReadonlyArray<Row>): Read => {
  const names = new Set<string>()
  const classes = rows.flatMap((row, at): ReadonlyArray<WorkClass> => {
    const gpus = amount(cell(row, "gpus", "gpus_per_unit", "gpu_count")) ?? 1
    const gang = Math.max(1, Math.floor(amount(cell(row, "gang", "gang_size", "machines", "nodes")) ?? 1))
    const units = amount(cell(row, "units", "count", "replicas", "waiting")) ?? gang
    if (!(units > 0) || gpus < 0) return []
    let id = cell(row, "id", "class", "name") || `class-${at + 1}`
    while (names.has(id)) id = `${id}'`
    names.add(id)
    return [{
      id,
      units: Math.floor(units),
      needs: {
        gpus: Math.floor(gpus),
        ...(gpus > 0 && gpus < 1 ? { gpuMilli: Math.round(gpus * 1000) } : {}),
        cpuMilli: Math.round((amount(cell(row, "vcpu", "cpus", "cpu")) ?? 0) * 1000),
        memoryMib: Math.round((amount(cell(row, "mem_gib", "memory_gib", "memory")) ?? 0) * 1024),
        diskMib: Math.round((amount(cell(row, "disk_gib")) ?? 0) * 1024)
      },
      gpuModels: listed(cell(row, "gpu_models", "gpu_model", "gpu_name", "gpu", "models")),
      gang,
      spot: yes(cell(row, "spot", "spot_ok", "spot_tolerant")),
      containers: !/^(0|n|no|f|false)$/iu.test(cell(row, "containers")),
      regions: listed(cell(row, "regions", "region")),
      providers: listed(cell(row, "providers", "provider")).map((name) => name.toLowerCase()),
      weightPermille: Math.round((amount(cell(row, "weight", "priority")) ?? 1) * 1000)
    }]
  })
  return { classes, leftOut: rows.length - classes.length }
}

/** What takes over where the first wish is not to be had: the larger sister, then the next family. */
const fallbacks: Readonly<Record<string, ReadonlyArray<string>>> = {
  T4: ["L4", "A10"], L4: ["A10", "L40S"], A10: ["L4", "A40"], V100: ["A100"], A100: ["A100-80GB", "H100"], L40S: ["L40", "A100"], H100: ["H200", "H100-NVL"], H200: ["B200"],
  A40: ["A6000", "L40S"], A6000: ["A40", "L40S"], MI300X: ["H200"], RTXPRO6000: ["H100-NVL", "L40S"]
}

/**
 * Classes of work over a catalogue's own kinds: what is offered often is asked for often, in sizes that somebody sells. Some of it cannot be met:
 * stock is short, and a gang wants one fabric.
 */
export const makeDemand = (columns: ReadonlyArray<Buyable>, seed: number, count: number): ReadonlyArray<WorkClass> => {
  const random = seeded(seed * 7919 + 17)
  const kinds = new Map<string, { rows: number; gpusMax: number }>()
  for (const { gpuMemoryMib, gpuModel, resources: { gpus } } of columns) {
    if (gpus === 0) continue
    const { family } = gpuKind(gpuModel ?? "", gpuMemoryMib === undefined ? undefined : gpuMemoryMib / 1024)
    const known = kinds.get(family) ?? { rows: 0, gpusMax: 0 }
    kinds.set(family, { rows: known.rows + 1, gpusMax: Math.max(known.gpusMax, gpus) })
  }
  if (kinds.size === 0) return []
  const wheel = [...kinds].filter(([, { rows }], _, all) => rows >= 10 || all.length < 5).flatMap(([family, { rows }]) => Array.from({ length: Math.ceil(Math.sqrt(rows)) }, () => family))
  const families = wheel.length > 0 ? wheel : [...kinds.keys()]
  return Array.from({ length: count }, (_, at): WorkClass => {
    const family = oneOf(random, families)
    const { gpusMax } = kinds.get(family)!
    const isGang = gpusMax >= 8 && random() < 0.15
    const gpus = isGang ? 8 : oneOf(random, [1, 1, 1, 2, 2, 4, 4, 8].filter((size) => size <= gpusMax))
    const gang = isGang ? oneOf(random, [2, 2, 3]) : 1
    const tail = fallbacks[family] ?? []
    return {
      id: `${isGang ? "gang" : "work"}-${at + 1}-${family.toLowerCase()}x${gpus}`,
      units: isGang ? gang : Math.max(1, Math.round((8 + random() * 40) / gpus)),
      needs: {
        gpus,
        cpuMilli: random() < 0.3 ? gpus * oneOf(random, [2000, 4000, 8000]) : 0,
        memoryMib: random() < 0.3 ? gpus * oneOf(random, [8, 16, 32]) * 1024 : 0,
        diskMib: 0
      },
      gpuModels: [family, ...(random() < 0.6 ? tail.slice(0, 1 + Math.floor(random() * tail.length)) : [])],
      gang,
      spot: random() < 0.4,
      containers: random() < 0.7,
      regions: random() < 0.2 ? [oneOf(random, ["us", "eu", "as"])] : [],
      providers: [],
      weightPermille: 1000
    }
  })
}

/** Demand as JSON lines that `readDemand` reads: what a bench made can be kept and changed. */
export const demandLines = (classes: ReadonlyArray<WorkClass>): string =>
  classes.map(({ containers, gang, gpuModels, id, needs, providers, regions, spot, units, weightPermille }) => JSON.stringify({
    id, units, gpus: needs.gpus, gpu_models: gpuModels, gang, spot, regions, providers,
    vcpu: needs.cpuMilli / 1000, mem_gib: needs.memoryMib / 1024, containers, weight: weightPermille / 1000
  })).join("\n")
