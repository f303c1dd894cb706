import type { Request } from "@millrace/packing"
import { type Constraints, type GpuWish, type JobSpec, type Places, unisolated, type Where } from "@millrace/schemas"
import { networkAsked } from "./gang-network.ts"

const words = ["noop", "process", "sandbox", "own", "others"]
const bitsOf = (said: ReadonlyArray<string>): number => said.reduce((sum, word) => sum | (1 << words.indexOf(word)), 0)

/** Each dialect that an agent understands has a bit; one that is not known here is asked of nobody. */
const dialects = [0, 0, 1 << 8, 1 << 9, 1 << 10]
const unknownDialect = 1 << 15

/** What a host does, in bits. Whoever understands a dialect understands those before it. */
export const kindsOf = ({ dialect, runtimes, trusts }: { readonly dialect: number; readonly runtimes: ReadonlyArray<string>; readonly trusts: ReadonlyArray<string> }): number =>
  dialects.slice(0, dialect + 1).reduce((sum, bit) => sum | bit, bitsOf(runtimes) | bitsOf(trusts))

/** A wish among places outweighs any packing: a whole GPU lost counts 100. */
const wishPoints = 10_000

/** The third dialect is the first that tells devices apart and minds places. */
const placingDialect = 3

/** The least that a host's agent must understand to run a job as it is meant. */
export const dialectOf = ({ dialect = 1, gpu, resources: { gpuMilli = 0, gpus }, where }: JobSpec): number =>
  gpus + gpuMilli > 0 || gpu !== undefined || where !== undefined ? Math.max(dialect, placingDialect) : dialect

/** What a job asks of a host, no further than its grant's limits let it. */
export const requestOf = (spec: JobSpec, { dialect = dialectOf(spec), limits = {} }: { readonly dialect?: number; readonly limits?: Constraints } = {}): Request => {
  const { resources: { cpuMilli, diskMib, gpuMilli = 0, memoryMib }, runtime, trust } = spec
  const gpus = spec.resources.gpus + (gpuMilli === 1000 ? 1 : 0)
  const wishes = gpus + gpuMilli === 0 ? undefined : wishesWithin(spec.gpu, limits.gpuModels)
  return {
    cpuMilli, memoryMib, diskMib, gpus,
    ...(gpuMilli === 0 || gpuMilli === 1000 ? {} : { gpuMilli }),
    ...(wishes === undefined ? {} : { models: wishes }),
    kinds: bitsOf([runtime, trust]) | (dialect <= 1 ? 0 : dialects[dialect] ?? unknownDialect),
    where: [...termsOf(whereWithin(spec.where, limits)), ...rungsOf(spec), ...networkAsked(spec)]
  }
}

/** The kinds that a job would take and its grant allows. A kind without a model is narrowed to the grant's. */
const wishesWithin = (wishes: ReadonlyArray<GpuWish> | undefined, models: ReadonlyArray<string> | undefined): ReadonlyArray<GpuWish> | undefined => {
  if (models === undefined) return wishes
  return (wishes ?? [{}]).flatMap((wish) => wish.model === undefined ? models.map((model) => ({ ...wish, model })) : [wish])
}

const whereWithin = (where: Where = {}, { providers, regions }: Constraints): Where => {
  const only: Places = { ...(providers === undefined ? {} : { providers }), ...(regions === undefined ? {} : { regions }), ...where.only }
  return { ...where, only }
}

/** Rungs are of sandboxes: what is no sandbox is kept apart by nothing, wherever it runs. */
const rungsOf = ({ runtime, where: { only, rather } = {} }: JobSpec): NonNullable<Request["where"]> => {
  const met = (rungs: ReadonlyArray<string>): ReadonlyArray<string> => (runtime === "sandbox" ? rungs : [])
  return [
    ...(only?.isolation === undefined || (runtime !== "sandbox" && only.isolation.includes(unisolated)) ? [] : [{ label: "isolation", anyOf: met(only.isolation) }]),
    ...(rather?.isolation === undefined || runtime !== "sandbox" ? [] : [{ label: "isolation", anyOf: rather.isolation, weight: wishPoints }])
  ]
}

const lists = [["regions", "region"], ["providers", "provider"], ["residency", "residency"]] as const

const termsOf = ({ only = {}, rather = {}, spot = "never" }: Where): NonNullable<Request["where"]> => [
  ...lists.flatMap(([list, label]) => (only[list] === undefined ? [] : [{ label, anyOf: only[list] }])),
  ...lists.flatMap(([list, label]) => (rather[list] === undefined ? [] : [{ label, anyOf: rather[list], weight: wishPoints }])),
  ...(spot === "never" ? [{ label: "spot", anyOf: ["no"] }] : spot === "rather" ? [{ label: "spot", anyOf: ["yes"], weight: wishPoints }] : [])
]
