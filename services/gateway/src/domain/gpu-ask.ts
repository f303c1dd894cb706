import { unisolated } from "@millrace/schemas"
import type { JobRequest } from "./request.ts"

/** No machine that anybody rents out has more. */
const gpusMax = 16

/** Why what a request says of GPUs and of places cannot be meant. */
export interface Contradiction {
  readonly what: string
  readonly where: string
  readonly remedy: string
}

/** What a request says of GPUs, members and places that contradicts itself, or that no machine could ever meet. */
export const contradictionIn = ({ array, gang, gpu, resources: { gpuMilli = 0, gpus }, runtime, where }: Pick<JobRequest, "array" | "gang" | "gpu" | "resources" | "where"> & Partial<Pick<JobRequest, "runtime">>): Contradiction | undefined => {
  if (gpus > 0 && gpuMilli > 0) {
    return { what: `it asks for ${gpus} whole GPUs and for ${gpuMilli} thousandths of one`, where: "resources.gpuMilli", remedy: "ask for whole GPUs by gpus, or for a part of one by gpuMilli" }
  }
  if (gpus > gpusMax) {
    return { what: `it asks for ${gpus} GPUs on one machine, and none has more than ${gpusMax}`, where: "resources.gpus", remedy: "ask for fewer, and for more tasks" }
  }
  if (gpu !== undefined && gpus + gpuMilli === 0) {
    return { what: "it names kinds of GPU and asks for none", where: "gpu", remedy: "say how many by resources.gpus, or how much of one by resources.gpuMilli" }
  }
  if (gpu !== undefined && gpu.length === 0) {
    return { what: "it names no kind of GPU that would do", where: "gpu", remedy: "name at least one, or leave gpu out: then any does" }
  }
  if (gang !== undefined && array !== undefined) {
    return { what: "it is a gang, whose members run together, and an array, whose tasks run by themselves", where: "gang", remedy: "say how many by gang.members alone, or leave gang out" }
  }
  if (gang?.topology === "host" && gpuMilli > 0) {
    return { what: "its members are to share one host, each with a part of a GPU", where: "gang.topology", remedy: "ask for whole GPUs, or for members that share a fabric, a zone or a provider" }
  }
  if (gang?.network === "private" && runtime !== undefined && runtime !== "sandbox") {
    return { what: `its members are to have a network of their own, and work of the ${runtime} runtime has none`, where: "gang.network", remedy: "submit it with runtime: sandbox, or leave gang.network out" }
  }
  if (where?.only?.isolation !== undefined && runtime !== "sandbox" && !where.only.isolation.includes(unisolated)) {
    return { what: `it asks to be kept apart by ${where.only.isolation.join(" or ")}, and work of the ${runtime} runtime is kept apart by nothing`, where: "where.only.isolation", remedy: "submit it with runtime: sandbox, or leave the rung out" }
  }
  for (const list of ["regions", "providers", "residency", "isolation"] as const) {
    if (where?.only?.[list]?.length === 0) {
      return { what: `it may run in no ${list} at all`, where: `where.only.${list}`, remedy: "name at least one, or leave it out: then any does" }
    }
  }
  return undefined
}
