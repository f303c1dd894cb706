import { availableParallelism } from "node:os"

/** One type of machine that the sky sells. */
export interface Ware {
  readonly name: string
  readonly gpu: string
  readonly gpus: number
  readonly vcpus: number
  readonly memoryGib: number
  readonly centsPerHour: number
  readonly source: string
}

/** The public price list, as skypilot-catalog `catalogs/v8/lambda/vms.csv` had it (file version 0f40703, 2026). */
const listed = "skypilot-catalog v8 lambda/vms.csv@0f40703 (2026)"
/** What no vendor sells: small enough that a laptop can pretend to be one. */
const madeUp = "made up for this machine, 2026-11: no vendor sells it"

const ware = (name: string, gpu: string, gpus: number, vcpus: number, memoryGib: number, centsPerHour: number, source = listed): Ware =>
  ({ name, gpu, gpus, vcpus, memoryGib, centsPerHour, source })

/** All cores of this machine: an agent offers no more than there are, whatever its machine is called. */
const manyCores = availableParallelism()

export const wares: ReadonlyArray<Ware> = [
  ware("cpu_1x_small", "N/A", 0, 1, 1, 6, madeUp),
  ware("cpu_4x_small", "N/A", 0, 4, 4, 24, madeUp),
  ware("cpu_whole", "N/A", 0, manyCores, 4, 6 * manyCores, madeUp),
  ware("gpu_1x_rtx6000", "RTX6000 (24 GB)", 1, 14, 46, 69),
  ware("gpu_1x_a10", "A10 (24 GB PCIe)", 1, 30, 200, 129),
  ware("gpu_1x_a6000", "A6000 (48 GB)", 1, 14, 100, 109),
  ware("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 1, 30, 200, 199),
  ware("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 26, 200, 329),
  ware("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 1, 26, 225, 429),
  ware("gpu_2x_h100_sxm5", "H100 (80 GB SXM5)", 2, 52, 450, 838),
  ware("gpu_4x_h100_sxm5", "H100 (80 GB SXM5)", 4, 104, 900, 1636),
  ware("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 8, 208, 1800, 3192),
  ware("gpu_8x_a100", "A100 (40 GB SXM4)", 8, 124, 1800, 1592),
  ware("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, 240, 1800, 2232),
  ware("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", 1, 26, 360, 699),
  ware("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", 8, 208, 2900, 5352)
]

export const regions: ReadonlyArray<string> = ["us-east-1", "us-west-1", "europe-central-1"]
