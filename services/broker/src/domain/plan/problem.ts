import type { Resources } from "@millrace/schemas"
import { counts } from "../limits.ts"
import { askedKind, type GpuKind, gpuKind, nameOf, satisfies } from "./gpu-name.ts"
import type { Buyable, PlanInputs, Quota, Weights, WorkClass } from "./inputs.ts"
import { within } from "./place.ts"

/** GPU thousandths, CPU thousandths, memory, disk: what a unit takes from a machine. */
export type Amounts = readonly [number, number, number, number]
export const kinds = [0, 1, 2, 3] as const

/** A column as the plan sees it: in numbers, with its price as it is felt. */
export interface Column {
  readonly at: number
  readonly from: Buyable
  readonly gpu: GpuKind | undefined
  readonly has: Amounts
  readonly gpus: number
  readonly rooms: ReadonlyArray<Amounts>
  readonly idle: number
  readonly stock: number
  /** Dollars an hour that are paid: nothing where it is prepaid. */
  readonly price: number
  /** Dollars an hour that one more, and one that is kept, count for: risk, start and stop included. */
  readonly freshCost: number
  readonly keptCost: number
}

/** Where one class may go: how many of its items one machine takes, and what each costs beyond the machine. */
export interface Fit {
  readonly column: number
  /** Items on an empty machine; less than one where an item is a gang over several machines. */
  readonly perMachine: number
  /** So many items could be on all machines that there are or could be. */
  readonly most: number
  /** All members of an item must be on one machine, because nothing joins two of them. */
  readonly together: boolean
  readonly extra: number
}

/** Work in numbers. An item is what is placed as a whole: a unit, a gang, or one machine of a buffer. */
export interface Work {
  readonly at: number
  readonly id: string
  readonly from: WorkClass | undefined
  readonly items: number
  /** Units of an item, each on one machine, all on one column. */
  readonly members: number
  readonly needs: Amounts
  /** Takes the whole machine and counts by its GPUs: a buffer. */
  readonly whole: boolean
  readonly fits: ReadonlyArray<Fit>
  /** The same by column. */
  readonly fitOn: ReadonlyMap<number, Fit>
  readonly unmetCost: number
  /** Why it fits nowhere, where it does not. */
  readonly nowhere: string | undefined
}

/** No more than so much over some columns: one row of the program. */
export interface Limit {
  readonly name: string
  readonly columns: ReadonlyArray<number>
  readonly weight: (column: Column) => number
  readonly most: number
}

export interface Problem {
  readonly columns: ReadonlyArray<Column>
  readonly works: ReadonlyArray<Work>
  readonly limits: ReadonlyArray<Limit>
  /** Which limits bind a column. */
  readonly limitsOf: ReadonlyArray<ReadonlyArray<number>>
}

/** An operating system and the agent take a tenth of a machine's memory. */
const memoryShare = 0.9
const picoHourPerDollar = 1e12 / 3600

const gpuMilliOf = ({ gpuMilli, gpus }: Resources): number =>
  // Parts do not straddle devices: a part counts as the largest whole fraction that holds it.
  gpuMilli === undefined || gpuMilli === 0 ? gpus * 1000 : Math.floor(1000 / Math.floor(1000 / gpuMilli))

const roomIn = (resources: Resources): Amounts => [gpuMilliOf(resources), resources.cpuMilli, resources.memoryMib, resources.diskMib]

/** Nobody says how much disk a machine has: then it counts as enough. */
const machineOf = ({ cpuMilli, diskMib, gpus, memoryMib }: Resources): Amounts =>
  [gpus * 1000, cpuMilli, Math.floor(memoryMib * memoryShare), diskMib === 0 ? Number.MAX_SAFE_INTEGER : diskMib]

/** How many times needs go into what is there. */
export const times = (needs: Amounts, has: Amounts): number => {
  let most = Number.MAX_SAFE_INTEGER
  for (const kind of kinds) if (needs[kind] > 0) most = Math.min(most, Math.floor(has[kind] / needs[kind]))
  return most
}

/** Reads the inputs into numbers. What can never be bought and work that there is none of are left out. */
export const problemOf = (inputs: PlanInputs, weights: Weights): Problem => {
  const columns = inputs.columns.filter(isReal).map((from, at): Column => {
    const price = from.prepaid ? 0 : Number(from.pricePicoPerSecond) / picoHourPerDollar
    const felt = price * (1 + (from.riskPermille * weights.riskPermille) / 1e6)
    return {
      at,
      from,
      gpu: from.gpuModel === undefined ? undefined : gpuKind(from.gpuModel, from.gpuMemoryMib === undefined ? undefined : from.gpuMemoryMib / 1024),
      has: machineOf(from.resources),
      gpus: from.resources.gpus,
      rooms: from.rooms.map(roomIn),
      idle: from.idle,
      stock: from.stock,
      price,
      freshCost: felt + (price * weights.startPermille) / 1000,
      keptCost: felt - (price * weights.stopPermille) / 1000
    }
  })
  const classes = inputs.classes.filter(({ units }) => units > 0)
  const buffers = inputs.buffers.filter(({ gpus }) => gpus > 0)
  const works = [
    ...classes.map((one, at) => workOf(one, at, columns, weights)),
    ...buffers.map(({ gpuModel, gpus }, at) => bufferOf(gpuModel, gpus, classes.length + at, columns))
  ]
  const limits = limitsFor(inputs, columns, works, weights)
  const limitsOf: Array<Array<number>> = columns.map(() => [])
  limits.forEach((limit, at) => limit.columns.forEach((column) => limitsOf[column]!.push(at)))
  return { columns, works, limits, limitsOf }
}

/** A price of nothing is an error of the list, never an offer. What is out of stock stays: it is why work waits. */
const isReal = ({ prepaid, pricePicoPerSecond }: Buyable): boolean => prepaid || pricePicoPerSecond > 0n

const workOf = (from: WorkClass, at: number, columns: ReadonlyArray<Column>, weights: Weights): Work => {
  const members = Math.max(1, from.gang)
  const needs = roomIn(from.needs)
  const why = new Refusals()
  const asked = from.gpuModels.map(askedKind)
  const fits: Array<Fit> = []
  for (const column of columns) {
    const liking = likingOf(asked, needs[0] > 0, column.gpu)
    const together = members > 1 && !joins(from, column)
    const items = (has: Amounts): number => (together ? Math.floor(times(needs, has) / members) : times(needs, has) / members)
    const perMachine = liking < 0 ? 0 : items(column.has)
    const inRooms = liking < 0 ? 0 : column.rooms.reduce((sum, room) => sum + items(room), 0)
    const most = Math.floor(perMachine * (column.stock + column.idle) + inRooms + 1e-9)
    if (why.says(from, needs, column, liking, times(needs, column.has), most)) continue
    fits.push({ column: column.at, perMachine, most, together, extra: (liking * weights.fallbackPermille * column.price) / (1000 * Math.max(perMachine, 1e-9)) })
  }
  const kept = needs[0] > 0 ? fits : sparingGpus(fits, columns, Math.ceil(from.units / members))
  const dearest = kept.reduce((most, { column, perMachine }) => Math.max(most, columns[column]!.freshCost / Math.max(perMachine, 1e-9)), 0)
  return {
    at, id: from.id, from, items: Math.ceil(from.units / members), members, needs, whole: false, fits: kept, fitOn: byColumn(kept),
    unmetCost: Math.max(1, dearest) * Math.max(1, weights.unmetTimes) * (from.weightPermille / 1000),
    nowhere: fits.length === 0 ? why.inWords(from) : undefined
  }
}

/** Whether members of a gang on two machines of a column are near enough to each other. */
const joins = ({ near }: WorkClass, { from: { column, fabric } }: Column): boolean =>
  near === undefined ? fabric : near !== "zone" || column.zone !== undefined

/** Work without GPUs takes no machine that has some, as long as there are others for all of it. */
const sparingGpus = (fits: ReadonlyArray<Fit>, columns: ReadonlyArray<Column>, items: number): ReadonlyArray<Fit> => {
  const plain = fits.filter(({ column }) => columns[column]!.gpus === 0)
  return plain.reduce((sum, { most }) => sum + most, 0) >= items ? plain : fits
}

const byColumn = (fits: ReadonlyArray<Fit>): ReadonlyMap<number, Fit> => new Map(fits.map((fit) => [fit.column, fit]))

const bufferOf = (gpuModel: string, gpus: number, at: number, columns: ReadonlyArray<Column>): Work => {
  const asked = askedKind(gpuModel)
  // On what may be taken back at any moment nothing is kept in hand.
  const fits = columns.filter(({ from, gpu, gpus: has }) => has > 0 && gpu !== undefined && satisfies(gpu, asked) && from.column.market !== "spot")
    .map(({ at: column, idle, stock }): Fit => ({ column, perMachine: 1, most: stock + idle, together: false, extra: 0 }))
    .filter(({ most }) => most > 0)
  const dearest = fits.reduce((most, { column }) => Math.max(most, columns[column]!.freshCost / columns[column]!.gpus), 0)
  return {
    at, id: `buffer:${nameOf(asked)}`, from: undefined, items: gpus, members: 1, needs: [0, 0, 0, 0], whole: true, fits, fitOn: byColumn(fits),
    // Idle machines in hand are wished for, and give way to work that waits.
    unmetCost: Math.max(0.01, dearest) * 1.5,
    nowhere: fits.length === 0 ? `nobody sells ${nameOf(asked)} that could be kept in hand` : undefined
  }
}

/** Which of the asked kinds it is, from 0; -1 for none of them. */
const likingOf = (asked: ReadonlyArray<GpuKind>, wantsGpu: boolean, offered: GpuKind | undefined): number => {
  if (!wantsGpu || asked.length === 0) return 0
  return offered === undefined ? -1 : asked.findIndex((one) => satisfies(offered, one))
}

/** What a column must be for a class, in the order in which it is told why none was. */
const steps = ["gpu", "size", "provider", "region", "container", "spot", "fabric", "stock"] as const

/** The first step at which a column fails a class; their number where it fails none. */
const stepOf = (from: WorkClass, needs: Amounts, column: Column, liking: number, each: number, most: number): number => {
  const { container, provider } = column.from
  const members = Math.max(1, from.gang)
  if (liking < 0 || (needs[0] > 0 && column.gpus === 0)) return 0
  if (each === 0) return 1
  if (from.providers.length > 0 && !from.providers.includes(provider)) return 2
  if (!within(column.from.column.region, from.regions)) return 3
  if (container && !from.containers) return 4
  if (!from.spot && column.from.column.market === "spot") return 5
  if (members > 1 && !joins(from, column) && (from.near === "zone" || each < members)) return 6
  return most < 1 ? 7 : steps.length
}

/** Remembers what the columns that came closest lacked. */
class Refusals {
  #step = -1

  /** Whether a column is no place for this class, and how far it came. */
  says(from: WorkClass, needs: Amounts, column: Column, liking: number, each: number, most: number): boolean {
    const failed = stepOf(from, needs, column, liking, each, most)
    if (failed === steps.length) return false
    this.#step = Math.max(this.#step, failed)
    return true
  }

  inWords(from: WorkClass): string {
    const gpus = from.gpuModels.length === 0 ? "any GPU" : from.gpuModels.join(" or ")
    switch (steps[this.#step]) {
      case undefined:
        return "nothing is offered at all"
      case "gpu":
        return `nobody offers ${gpus}`
      case "size":
        return `no machine with ${from.needs.gpus > 0 ? gpus : "so much"} is large enough for one unit`
      case "provider":
        return `none of ${from.providers.join(", ")} offers it`
      case "region":
        return `nobody offers it within ${from.regions.join(", ")}`
      case "container":
        return "it is offered only as a container on somebody's machine, which this work does not take"
      case "spot":
        return "it is offered only as spot, which this work does not tolerate"
      case "fabric":
        return from.near === "zone" ? `nobody offers ${from.gang} of them in a zone that it names` : `no fabric joins ${from.gang} of them`
      default:
        return from.gang > 1 ? `no single column has ${from.gang} of them in stock` : "everything that would do is out of stock"
    }
  }
}

const limitsFor = (inputs: PlanInputs, columns: ReadonlyArray<Column>, works: ReadonlyArray<Work>, weights: Weights): ReadonlyArray<Limit> => {
  const one = () => 1
  const gpusOf = ({ gpus }: Column) => gpus
  const coresOf = ({ from }: Column) => from.resources.cpuMilli / 1000
  const over = (name: string, of: (column: Column) => boolean, weight: (column: Column) => number, most: number): Limit => {
    const chosen = columns.filter((column) => of(column) && weight(column) > 0)
    // Machines that must stay are part of what a limit counts.
    const used = chosen.reduce((sum, column) => sum + weight(column) * column.rooms.length, 0)
    return { name, columns: chosen.map(({ at }) => at), weight, most: Math.max(0, most - used) }
  }
  const wantedGpus = works.reduce((sum, { items, members, needs, whole }) => sum + (whole ? items : (items * members * needs[0]) / 1000), 0) + columns.reduce((sum, { gpus, rooms }) => sum + gpus * rooms.length, 0)
  const limits = [
    ...inputs.quotas.flatMap((quota) => [
      ...(quota.machinesMax === undefined ? [] : [over(quotaName(quota, `${quota.machinesMax} machines`), underQuota(quota), one, quota.machinesMax)]),
      ...(quota.gpusMax === undefined ? [] : [over(quotaName(quota, `${quota.gpusMax} GPUs`), underQuota(quota), gpusOf, quota.gpusMax)]),
      ...(quota.coresMax === undefined ? [] : [over(quotaName(quota, `${quota.coresMax} cores`), underQuota(quota), coresOf, quota.coresMax)])
    ]),
    ...inputs.shares.map(({ permilleMax, provider }) =>
      over(`the share of ${provider} (${permilleMax / 10} %)`, ({ from }) => from.provider === provider, gpusOf, Math.max(weights.shareFloorGpus, Math.floor((wantedGpus * permilleMax) / 1000)))),
    ...(inputs.machinesMax === undefined ? [] : [over(`the cap of ${inputs.machinesMax} machines`, () => true, one, inputs.machinesMax)]),
    ...(inputs.spendPicoPerHourMax === undefined ? [] : [over("the cap on dollars per hour", () => true, ({ price }) => price, Number(inputs.spendPicoPerHourMax) / 1e12)])
  ]
  return limits.filter(({ columns: bound }) => bound.length > 0)
}

const quotaName = ({ gpuModel, machineType, market, provider, region }: Quota, most: string): string =>
  `the quota of ${[provider, region, machineType, market, gpuModel].filter((part) => part !== undefined).join(" ")} (${most})`

const underQuota = (quota: Quota) => ({ from }: Column): boolean =>
  counts(quota.provider, quota, { ...from, gpus: from.resources.gpus, cpuMilli: from.resources.cpuMilli })
