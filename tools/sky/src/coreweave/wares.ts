import { dollars, madeUp, type Ware } from "../prices.ts"

/** CoreWeave's price page as transcribed in api-evangelist/coreweave plans; sizes as Kubernetes' cluster autoscaler holds them. */
const listed = "coreweave.com/pricing (read 2026-09-20); kubernetes/autoscaler coreweave_instance_types.go (2026)"

export const coreWeaveWares: ReadonlyArray<Ware> = [
  { name: "cd-small", gpu: undefined, gpus: 0, vcpus: 1, memoryGib: 1, picoPerHour: dollars("0.06"), spotPicoPerHour: dollars("0.03"), source: madeUp },
  { name: "gd-8xh100ib-i128", gpu: "H100", gpus: 8, gpuMemoryGib: 80, vcpus: 128, memoryGib: 2_014, picoPerHour: dollars("49.24"), spotPicoPerHour: dollars("19.71"), source: listed },
  { name: "b200-8x", gpu: "B200", gpus: 8, gpuMemoryGib: 180, vcpus: 128, memoryGib: 2_014, picoPerHour: dollars("68.80"), spotPicoPerHour: dollars("34.11"), source: listed }
]
