import { availableParallelism } from "node:os"
import { dollars, madeUp, type Ware } from "../prices.ts"

/** The public price list, as skypilot-catalog `catalogs/v8/lambda/vms.csv` had it (file version 0f40703, 2026). */
const listed = "skypilot-catalog v8 lambda/vms.csv@0f40703 (2026)"

const ware = (name: string, gpu: string | undefined, gpus: number, vcpus: number, memoryGib: number, perHour: string, source = listed): Ware =>
  ({ name, gpu, gpus, vcpus, memoryGib, picoPerHour: dollars(perHour), source })

/** All cores of this machine: an agent offers no more than there are, whatever its machine is called. */
const manyCores = availableParallelism()

export const lambdaWares: ReadonlyArray<Ware> = [
  ware("cpu_1x_small", undefined, 0, 1, 1, "0.06", madeUp),
  ware("cpu_4x_small", undefined, 0, 4, 4, "0.24", madeUp),
  ware("cpu_whole", undefined, 0, manyCores, 4, (0.06 * manyCores).toFixed(2), madeUp),
  ware("gpu_1x_rtx6000", "RTX6000 (24 GB)", 1, 14, 46, "0.69"),
  ware("gpu_1x_a10", "A10 (24 GB PCIe)", 1, 30, 200, "1.29"),
  ware("gpu_1x_a6000", "A6000 (48 GB)", 1, 14, 100, "1.09"),
  ware("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 1, 30, 200, "1.99"),
  ware("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 26, 200, "3.29"),
  ware("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 1, 26, 225, "4.29"),
  ware("gpu_2x_h100_sxm5", "H100 (80 GB SXM5)", 2, 52, 450, "8.38"),
  ware("gpu_4x_h100_sxm5", "H100 (80 GB SXM5)", 4, 104, 900, "16.36"),
  ware("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 8, 208, 1800, "31.92"),
  ware("gpu_8x_a100", "A100 (40 GB SXM4)", 8, 124, 1800, "15.92"),
  ware("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, 240, 1800, "22.32"),
  ware("gpu_1x_b200_sxm6", "B200 (180 GB SXM6)", 1, 26, 360, "6.99"),
  ware("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", 8, 208, 2900, "53.52")
]

export const lambdaRegions: ReadonlyArray<string> = ["us-east-1", "us-west-1", "europe-central-1"]
