import type { JobRequest } from "./request.ts"

/** No machine that anybody rents out has more. */
const gpusMax = 16

/** Why what a request says of GPUs and of places cannot be meant. */
export interface Contradiction {
  readonly what: string
  readonly where: string
  readonly remedy: string
}

/** What a request says of GPUs and places that contradicts itself, or that no machine could ever meet. */
export const contradictionIn = ({ gpu, resources: { gpuMilli = 0, gpus }, where }: Pick<JobRequest, "gpu" | "resources" | "where">): Contradiction | undefined => {
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
  for (const list of ["regions", "providers", "residency"] as const) {
    if (where?.only?.[list]?.length === 0) {
      return { what: `it may run in no ${list} at all`, where: `where.only.${list}`, remedy: "name at least one, or leave it out: then any does" }
    }
  }
  return undefined
}
