import type { Choice } from "@millrace/packing"
import { type GangTerms, wishesInWords } from "@millrace/schemas"
import { counted, gpuMilliOf, inWords } from "./resources.ts"
import type { JobState, World } from "./world.ts"

/** What a job wants of a host beside its kind of work, in words. */
export const termsInWords = (job: JobState): string => {
  const { gpu, resources, where } = job.submitted!.fact.spec
  const gpus = gpuMilliOf(resources)
  const parts = [
    ...(gpus === 0 ? [] : [`${counted(gpus / 1000, "GPU")}${gpu === undefined ? "" : ` of ${wishesInWords(gpu)}`}`]),
    ...([["region", where?.only?.regions], ["provider", where?.only?.providers], ["residency", where?.only?.residency], ["isolation", where?.only?.isolation]] as const)
      .flatMap(([what, names]) => (names === undefined ? [] : [`${what} ${names.join(" or ")}`]))
  ]
  return parts.length === 0 ? "" : ` and offers ${parts.join(", ")}`
}

/** Why this host, in words; and what it begins without, if that is anything. */
export const reasonOf = (job: JobState, { reason: { fallback, fitting, fragmentation, startMs, unmet } }: Choice, free: string, full: ReadonlyArray<string>, without: string | undefined): string => {
  const { gpu, resources } = job.submitted!.fact.spec
  return [
    `${fitting === 1 ? "the only host with room" : `the best of ${fitting} hosts with room`}: ${inWords(resources)} of ${free} free`,
    ...(fragmentation > 0 ? [`later work loses ${counted(fragmentation / 100, "GPU")} by it`] : []),
    ...(fallback > 0 && gpu !== undefined ? [`its choice ${fallback + 1} of ${gpu.length} kinds of GPU`] : []),
    ...(full.length === 0 ? [] : [`its quota gives no more of ${full.join(", ")}`]),
    ...(startMs > 0 ? [`ready in about ${startMs} ms`] : []),
    ...(unmet.length === 0 ? [] : [`not as wished: ${unmet.join(", ")}`]),
    ...(without === undefined ? [] : [without])
  ].join("; ")
}

/** Why a member of a gang is where it is. */
export const reasonOfMember = ({ members, topology }: GangTerms, each: string, without: string | undefined): string =>
  `with all ${members} members of its gang${topology === "anywhere" ? "" : ` on one ${topology}`}: ${each} each${without === undefined ? "" : `; ${without}`}`

/** Of what is free on some hosts the most, GPUs first. */
export const roomiest = (free: ReadonlyArray<ReturnType<World["index"]["fleet"]["free"]>>) =>
  free.reduce((most, other) => other.gpus > most.gpus ? other : other.gpus < most.gpus ? most : other.cpuMilli > most.cpuMilli || (other.cpuMilli === most.cpuMilli && other.memoryMib > most.memoryMib) ? other : most)
