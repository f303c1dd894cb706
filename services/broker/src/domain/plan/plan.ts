import type { Target } from "@millrace/schemas"
import { nameOf } from "./gpu-name.ts"
import type { Layout } from "./layout.ts"
import type { Column, Problem, Work } from "./problem.ts"

/** What of one class a plan puts on one column. */
export interface Part {
  readonly class: string
  readonly units: number
}

/** So many machines of a column, for this work. */
export interface PlanTarget extends Target {
  readonly parts: ReadonlyArray<Part>
}

export interface Unmet {
  readonly class: string
  /** Units, or GPUs of a buffer, that the plan leaves without a place. */
  readonly units: number
  readonly reason: string
}

/** What we mean to have, what it costs and why. */
export interface Plan {
  readonly method: "greedy" | "linear" | "integer"
  /** Every column that the plan wants or that runs now; those of one column follow each other. */
  readonly targets: ReadonlyArray<PlanTarget>
  readonly unmet: ReadonlyArray<Unmet>
  /** What the wanted machines cost in an hour, those that must stay included. */
  readonly costPicoPerHour: bigint
  /** No plan over these inputs costs less by these weights. Undefined: nobody looked at all of them. */
  readonly boundPicoPerHour: bigint | undefined
  /** What the plan counts for with all weights, in dollars an hour, and what no plan can be under. */
  readonly objective: number
  readonly boundObjective: number | undefined
  /** How many machines the plan starts. */
  readonly started: number
}

/** Reads a layout as a plan, with its reasons. */
export const planOf = (method: Plan["method"], layout: Layout, bound: number | undefined): Plan => {
  const { problem } = layout
  const targets = problem.columns.flatMap((column): ReadonlyArray<PlanTarget> => {
    const wanted = layout.kept[column.at]! + layout.fresh[column.at]! + column.rooms.length
    const running = column.idle + column.rooms.length
    if (wanted === 0 && running === 0) return []
    const parts = partsOn(layout, column)
    return [{ provider: column.from.provider, column: column.from.column, wanted, running, reason: reasonOf(layout, column, parts, wanted, running), parts }]
  })
  const costPicoPerHour = problem.columns.reduce((sum, { at, from, rooms }) =>
    from.prepaid ? sum : sum + BigInt(layout.kept[at]! + layout.fresh[at]! + rooms.length) * from.pricePicoPerSecond * 3600n, 0n)
  const objective = layout.cost()
  const couldSave = bound === undefined ? undefined : BigInt(Math.floor(Math.max(0, objective - bound) * 1e12))
  return {
    method,
    targets,
    unmet: problem.works.flatMap((work) => unmetOf(layout, work)),
    costPicoPerHour,
    boundPicoPerHour: couldSave === undefined ? undefined : couldSave > costPicoPerHour ? 0n : costPicoPerHour - couldSave,
    objective,
    boundObjective: bound,
    started: layout.fresh.reduce((sum, count) => sum + count, 0)
  }
}

const partsOn = (layout: Layout, { at, gpus }: Column): ReadonlyArray<Part> =>
  layout.problem.works.flatMap((work): ReadonlyArray<Part> => {
    const items = layout.itemsOn(work, at)
    return items === 0 ? [] : [{ class: work.id, units: work.whole ? items * gpus : Math.min(items * work.members, work.from?.units ?? Infinity) }]
  })

const dollars = (amount: number): string => `$${amount.toFixed(amount < 1 ? 3 : 2)}`

const reasonOf = (layout: Layout, column: Column, parts: ReadonlyArray<Part>, wanted: number, running: number): string => {
  const { from: { prepaid }, gpu, gpus, price } = column
  const what = gpus === 0 || gpu === undefined ? `${dollars(price)} an hour` : `${nameOf(gpu)} at ${dollars(price / gpus)} a GPU and hour`
  const listed = parts.slice(0, 4).map(({ class: name, units }) => `${units} of ${name}`)
  if (parts.length > listed.length) listed.push(`${parts.length - listed.length} more classes`)
  const holds = parts.length === 0 ? column.rooms.length > 0 ? "work that runs there stays" : "nothing needs it" : `holds ${listed.join(", ")}`
  return [`${prepaid ? "paid for already: " : ""}${what}`, holds, passedOver(layout, column, parts), change(wanted, running)].filter((part) => part !== "").join("; ")
}

const change = (wanted: number, running: number): string =>
  wanted > running ? (running === 0 ? "" : `${running} run, ${wanted - running} to start`) : wanted < running ? `${running - wanted} to give back` : ""

/** Why not the cheapest column that would have held the most of this one's work. */
const passedOver = (layout: Layout, column: Column, parts: ReadonlyArray<Part>): string => {
  const work = layout.problem.works.find(({ id }) => id === parts[0]?.class)
  const own = work?.fits.find((fit) => fit.column === column.at)
  if (work === undefined || own === undefined || work.whole) return ""
  const priceOf = (at: number, perMachine: number): number => layout.problem.columns[at]!.price / Math.max(perMachine, 1e-9)
  const ownPrice = priceOf(column.at, own.perMachine)
  const cheaper = work.fits.filter((fit) => priceOf(fit.column, fit.perMachine) < ownPrice - 1e-9)
  if (cheaper.length === 0) return `the cheapest of ${work.fits.length} that would do`
  const soldOut = cheaper.filter((fit) => layout.openable(fit.column) === 0).length
  return soldOut === cheaper.length ? `the ${cheaper.length} cheaper ones are used up` : `${cheaper.length} look cheaper for this work alone, ${soldOut} of them used up; together with other work this costs least`
}

const unmetOf = (layout: Layout, work: Work): ReadonlyArray<Unmet> => {
  const missing = work.items - layout.placed[work.at]!
  if (missing <= 1e-9) return []
  const units = work.whole ? Math.ceil(missing) : Math.min(missing * work.members, work.from?.units ?? Infinity)
  return [{ class: work.id, units, reason: work.nowhere ?? bindingFor(layout, work) }]
}

/** What stands in the way of work that would fit somewhere. */
const bindingFor = (layout: Layout, work: Work): string => {
  const { columns, limits, limitsOf } = layout.problem
  const binding = new Map<string, number>()
  let outOfStock = 0
  for (const { column } of work.fits) {
    if (layout.kept[column]! + layout.fresh[column]! >= columns[column]!.idle + columns[column]!.stock) {
      outOfStock += 1
      continue
    }
    for (const limit of limitsOf[column]!) {
      const { most, name, weight } = limits[limit]!
      if (layout.limitUsed(limit) + weight(columns[column]!) > most + 1e-9) binding.set(name, (binding.get(name) ?? 0) + 1)
    }
  }
  const [first] = [...binding].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
  const sold = outOfStock === 0 ? "" : `${outOfStock} of ${work.fits.length} columns that would do are out of stock`
  if (first !== undefined) return [`${first[0]} is reached`, sold].filter((part) => part !== "").join("; ")
  if (sold !== "" && outOfStock === work.fits.length) return `all ${outOfStock} columns that would do are out of stock`
  return work.members > 1 ? `no column has room left for ${work.members} together${sold === "" ? "" : `; ${sold}`}` : sold === "" ? "it would cost more than leaving it is worth" : sold
}

/** The shortest account of a problem: how many columns and pairs there were to choose from. */
export const sizeOf = ({ columns, works }: Problem): { readonly columns: number; readonly classes: number; readonly pairs: number } =>
  ({ columns: columns.length, classes: works.length, pairs: works.reduce((sum, { fits }) => sum + fits.length, 0) })
