import { availableParallelism } from "node:os"
import { dollars, madeUp, type Ware } from "../prices.ts"

/** Somebody's machine on the market, and what its owner wants for it. */
export interface Host {
  readonly number: number
  readonly ware: Ware
  /** As the owner has written it. */
  readonly place: string
  /** Dollars an hour without storage, in millionths; and for a gigabyte of storage a month. */
  readonly microPerHour: number
  readonly storageMicroPerGbMonth: number
  readonly reliability: number
  readonly verified: boolean
  /** It can run virtual machines, not containers alone. */
  readonly vms: boolean
  readonly diskGb: number
}

/** The prices of skypilot-catalog `catalogs/v8/vast/vms.csv` (file version 01b8cdd, 2026). */
const listed = "skypilot-catalog v8 vast/vms.csv@01b8cdd (2026)"

type Row = readonly [gpu: string, gpus: number, gpuGib: number, vcpus: number, memoryGib: number, perHour: string, place: string, source?: string]

const manyCores = availableParallelism()

const rows: ReadonlyArray<Row> = [
  ["none", 0, 0, 1, 1, "0.06", "Basement, AQ", madeUp],
  ["none", 0, 0, 1, 1, "0.06", "Attic, AQ", madeUp],
  ["none", 0, 0, manyCores, 4, (0.06 * manyCores).toFixed(2), "Basement, AQ", madeUp],
  ["H200", 1, 140, 32, 64, "2.65", "France, FR"],
  ["H200", 2, 140, 32, 64, "5.18", "Michigan, US"],
  ["H200", 4, 140, 32, 64, "10.59", "France, FR"],
  ["H200", 8, 140, 32, 64, "17.88", "France, FR"],
  ["H100 NVL", 1, 94, 32, 64, "2.08", "Bulgaria, BG"],
  ["H100 SXM", 1, 80, 32, 64, "1.87", "Texas, US"],
  ["H100 SXM", 1, 80, 32, 64, "1.87", "Texas, US"],
  ["H100 SXM", 2, 80, 32, 64, "3.73", "Thailand, TH"],
  ["H100 SXM", 4, 80, 32, 64, "8.53", "Vietnam, VN"],
  ["H100 SXM", 8, 80, 32, 64, "16.00", "Vietnam, VN"],
  ["A100 SXM4", 1, 40, 32, 64, "0.76", "Georgia, US"],
  ["A100 SXM4", 1, 40, 32, 64, "0.76", "Germany, DE"],
  ["A100 SXM4", 2, 40, 32, 64, "1.49", "Slovenia, SI"],
  ["A100 SXM4", 4, 40, 32, 64, "3.09", "Oregon, US"],
  ["A100 PCIE", 1, 80, 32, 64, "0.87", "Oklahoma, US"],
  ["B200", 2, 179, 32, 64, "9.41", "US"],
  ["B200", 4, 179, 32, 64, "18.82", "US"],
  ["RTX 5090", 1, 32, 32, 64, "0.48", "Texas, US"],
  ["RTX 5090", 2, 32, 32, 64, "0.93", "Taiwan, TW"],
  ["RTX 5090", 8, 32, 32, 64, "4.53", "Texas, US"],
  ["RTX 4090", 1, 24, 32, 64, "0.40", "Germany, DE"],
  ["RTX 4090", 1, 24, 32, 64, "0.40", "Washington, US"],
  ["RTX 4090", 2, 24, 32, 64, "0.79", "Finland, FI"],
  ["RTX 4090", 4, 24, 32, 64, "1.39", "Germany, DE"],
  ["RTX 4090", 8, 24, 32, 64, "2.77", "Croatia, HR"],
  ["RTX 3090", 2, 24, 32, 64, "0.33", "Quebec, CA"],
  ["RTX A6000", 2, 48, 32, 64, "0.85", "Kansas, US"],
  ["RTX 6000Ada", 1, 48, 32, 64, "0.37", "Japan, JP"],
  ["L40S", 1, 45, 32, 64, "0.60", "Taiwan, TW"],
  ["L40S", 4, 45, 32, 64, "2.40", "Japan, JP"],
  ["A40", 1, 45, 32, 64, "0.67", "Australia, AU"]
]

const nameOf = (gpu: string, gpus: number): string => `${gpus}x${gpu.replaceAll(" ", "_")}`

/** What the catalogue does not say of a host follows from its number: every third one runs virtual machines, a few are unverified. */
export const vastHosts: ReadonlyArray<Host> = rows.map(([gpu, gpus, gpuMemoryGib, vcpus, memoryGib, perHour, place, source = listed], number) => ({
  number: number + 1,
  ware: { name: nameOf(gpu, gpus), gpu: gpus === 0 ? undefined : gpu, gpus, gpuMemoryGib, vcpus, memoryGib, picoPerHour: dollars(perHour), source },
  place,
  microPerHour: Math.round(Number(perHour) * 1e6),
  storageMicroPerGbMonth: 100_000 + 50_000 * (number % 3),
  reliability: 0.999 - 0.01 * (number % 4),
  verified: number % 11 !== 10,
  vms: number % 3 === 0,
  diskGb: 256 + 128 * (number % 5)
}))
