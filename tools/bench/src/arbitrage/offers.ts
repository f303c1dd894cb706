import { type Buyable, gpuKind, nameOf } from "@millrace/broker/planning"
import { ProviderName } from "@millrace/schemas"
import { amount, cell, type Row } from "../table.ts"

/** A catalogue as columns that could be bought, stock not yet known, and what had to be left out or guessed. */
export interface Catalogue {
  readonly columns: ReadonlyArray<Buyable>
  readonly providers: ReadonlyArray<string>
  readonly rows: number
  readonly leftOut: Readonly<Record<string, number>>
  readonly guessed: Readonly<Record<string, number>>
}

/** The clouds that the broker is for; a catalogue that holds all of them is read for these alone. */
const ours = ["aws", "gcp", "azure", "oci", "coreweave", "lambda", "runpod", "nebius", "vast", "crusoe", "hyperstack", "verda", "vultr"]
/** They rent containers on somebody's machine. */
const inContainers = new Set(["runpod", "vast"])
/** What is taken back costs this much more than its price, in thousandths: work that is done twice. */
const spotRiskPermille = 100

/** Reads a catalogue with the columns of the price list beside this repository's data; whatever else it holds is passed over. */
export const readCatalogue = (rows: ReadonlyArray<Row>, wanted: ReadonlyArray<string> | "all" | undefined): Catalogue => {
  const counts = { leftOut: new Map<string, number>(), guessed: new Map<string, number>() }
  const count = (where: keyof typeof counts, what: string): void => void counts[where].set(what, (counts[where].get(what) ?? 0) + 1)
  const present = new Set(rows.map((row) => cell(row, "provider", "cloud").toLowerCase()))
  const providers = wanted === "all" ? undefined : wanted ?? (ours.every((name) => present.has(name)) ? ours : undefined)
  const read = rows.flatMap((row): ReadonlyArray<Half> => {
    const provider = cell(row, "provider", "cloud").toLowerCase()
    if (provider === "") return count("leftOut", "no provider"), []
    if (!/^[a-z][a-z0-9-]{0,39}$/u.test(provider)) return count("leftOut", "a provider's name that is none"), []
    if (providers !== undefined && !providers.includes(provider)) return count("leftOut", "other providers"), []
    const half = readRow(row, provider, count)
    return half === undefined ? [] : [half]
  })
  const least = leastOf(read)
  const seen = new Map<string, number>()
  const columns = read.flatMap((half): ReadonlyArray<Buyable> => {
    const filled = fill(half, least, count)
    return (["on_demand", "spot"] as const).flatMap((market): ReadonlyArray<Buyable> => {
      const price = market === "spot" ? half.spot : half.price
      if (price === undefined) return []
      if (price <= 0) return count("leftOut", "prices of nothing"), []
      const key = `${half.provider}/${half.region}/${half.zone}/${half.machineType}/${market}`
      const twin = seen.get(key) ?? 0
      seen.set(key, twin + 1)
      return [buyable(half, filled, market, price, twin)]
    })
  })
  return { columns, providers: [...new Set(columns.map(({ provider }) => provider))], rows: rows.length, leftOut: Object.fromEntries(counts.leftOut), guessed: Object.fromEntries(counts.guessed) }
}

interface Half {
  readonly provider: string
  readonly machineType: string
  readonly gpuName: string
  readonly gpus: number
  readonly gpuMemoryGib: number | undefined
  readonly vcpu: number | undefined
  readonly memoryGib: number | undefined
  readonly region: string
  readonly zone: string
  readonly price: number | undefined
  readonly spot: number | undefined
}

const readRow = (row: Row, provider: string, count: (where: "leftOut" | "guessed", what: string) => void): Half | undefined => {
  const gpuName = cell(row, "gpu_name", "gpu", "gpu_model", "accelerator_name", "acceleratorname")
  const machineType = cell(row, "instance_type", "machine_type", "instancetype", "name") || gpuName
  if (machineType === "") return count("leftOut", "no name of a machine"), undefined
  const counted = amount(cell(row, "gpu_count", "gpus", "accelerator_count", "acceleratorcount"))
  if (counted === undefined && gpuName !== "") count("guessed", "one GPU, because no count is given")
  const price = amount(cell(row, "price_usd_h", "price", "on_demand_usd_h"))
  const spot = amount(cell(row, "spot_usd_h", "spot_price", "spotprice", "spot"))
  if (price === undefined && spot === undefined) return count("leftOut", "no price"), undefined
  return {
    provider, machineType, gpuName,
    gpus: gpuName === "" ? 0 : Math.max(0, Math.floor(counted ?? 1)),
    gpuMemoryGib: amount(cell(row, "gpu_mem_gib", "gpu_memory_gib", "gpu_memory")),
    vcpu: amount(cell(row, "vcpu", "vcpus", "cpus")),
    memoryGib: amount(cell(row, "mem_gib", "memory_gib", "memory", "memorygib")),
    region: cell(row, "region") || "*",
    zone: cell(row, "zone", "availabilityzone"),
    price, spot
  }
}

interface Least {
  readonly vcpu: number
  readonly memoryGib: number
}

const kindOf = ({ gpuMemoryGib, gpuName }: Half): string => nameOf(gpuKind(gpuName, gpuMemoryGib))

/** The least CPU and memory that anybody gives with one GPU of a kind: what whoever says nothing is taken to give. */
const leastOf = (rows: ReadonlyArray<Half>): ReadonlyMap<string, Least> => {
  const least = new Map<string, Least>()
  for (const row of rows) {
    if (row.gpus === 0) continue
    const known = least.get(kindOf(row)) ?? { vcpu: Infinity, memoryGib: Infinity }
    least.set(kindOf(row), {
      vcpu: Math.min(known.vcpu, row.vcpu === undefined || row.vcpu <= 0 ? Infinity : row.vcpu / row.gpus),
      memoryGib: Math.min(known.memoryGib, row.memoryGib === undefined || row.memoryGib <= 0 ? Infinity : row.memoryGib / row.gpus)
    })
  }
  return least
}

const fill = (row: Half, least: ReadonlyMap<string, Least>, count: (where: "leftOut" | "guessed", what: string) => void): Least => {
  const of = (given: number | undefined, name: keyof Least, otherwise: number): number => {
    if (given !== undefined && given > 0) return given
    count("guessed", name === "vcpu" ? "vCPUs" : "memory")
    const each = least.get(kindOf(row))?.[name] ?? Infinity
    return (Number.isFinite(each) ? each : otherwise) * Math.max(1, row.gpus)
  }
  return { vcpu: of(row.vcpu, "vcpu", 4), memoryGib: of(row.memoryGib, "memoryGib", 16) }
}

const buyable = (half: Half, { memoryGib, vcpu }: Least, market: "on_demand" | "spot", price: number, twin: number): Buyable => ({
  provider: ProviderName.make(half.provider),
  column: {
    region: half.region, machineType: half.machineType, market,
    ...(half.zone === "" ? {} : { zone: half.zone }),
    ...(twin === 0 ? {} : { offer: `offer-${twin + 1}` })
  },
  resources: { cpuMilli: Math.floor(vcpu * 1000), memoryMib: Math.floor(memoryGib * 1024), diskMib: 0, gpus: half.gpus },
  ...(half.gpus === 0 ? {} : { gpuModel: half.gpuName }),
  ...(half.gpuMemoryGib === undefined || half.gpuMemoryGib <= 0 ? {} : { gpuMemoryMib: Math.floor(half.gpuMemoryGib * 1024) }),
  pricePicoPerSecond: BigInt(Math.round((price * 1e12) / 3600)),
  stock: 0,
  idle: 0,
  rooms: [],
  prepaid: false,
  riskPermille: market === "spot" ? spotRiskPermille : 0,
  // Clouds join their machines of eight GPUs; nobody joins containers on strangers' machines.
  fabric: half.gpus >= 8 && !inContainers.has(half.provider),
  container: inContainers.has(half.provider)
})
