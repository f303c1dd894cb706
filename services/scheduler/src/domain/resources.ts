import type { Resources } from "@millrace/schemas"

export const noResources: Resources = { cpuMilli: 0, memoryMib: 0, diskMib: 0, gpus: 0 }

export const plus = (left: Resources, right: Resources): Resources => ({
  cpuMilli: left.cpuMilli + right.cpuMilli,
  memoryMib: left.memoryMib + right.memoryMib,
  diskMib: left.diskMib + right.diskMib,
  gpus: left.gpus + right.gpus
})

/** GPUs in thousandths of one. */
export const gpuMilliOf = ({ gpuMilli = 0, gpus }: Resources): number => gpus * 1000 + gpuMilli

export const minus = (left: Resources, right: Resources): Resources => ({
  cpuMilli: left.cpuMilli - right.cpuMilli,
  memoryMib: left.memoryMib - right.memoryMib,
  diskMib: left.diskMib - right.diskMib,
  gpus: left.gpus - right.gpus
})

export const fits = (need: Resources, free: Resources): boolean =>
  need.cpuMilli <= free.cpuMilli && need.memoryMib <= free.memoryMib && need.diskMib <= free.diskMib && need.gpus <= free.gpus

/** More than any machine has that somebody could rent: work that needs it never runs. */
export const largestMachine: Resources = { cpuMilli: 2_048_000, memoryMib: 64 * 1024 * 1024, diskMib: 1024 * 1024 * 1024, gpus: 16 }

/** `1 core`, `2 cores`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`

/** In words that people read: `2 cores, 512 MiB, 1 GPU`. */
export const inWords = ({ cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib }: Resources): string =>
  [
    counted(cpuMilli / 1000, "core"), `${memoryMib} MiB`, ...(diskMib > 0 ? [`${diskMib} MiB disk`] : []), ...(gpus > 0 ? [counted(gpus, "GPU")] : []),
    ...(gpuMilli > 0 ? [`${gpuMilli / 1000} of a GPU`] : [])
  ].join(", ")
