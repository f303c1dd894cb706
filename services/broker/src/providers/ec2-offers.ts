import type { InstanceTypeInfo, InstanceTypeOffering, SpotPrice } from "@aws-sdk/client-ec2"
import type { Offer } from "@millrace/schemas"
import { type Ec2Prices, picoPerSecondOfDollars } from "./ec2-prices.ts"

/** What one region sells: its types, in which zones each is, and what spot costs there. */
export interface RegionRead {
  readonly region: string
  readonly types: ReadonlyArray<InstanceTypeInfo>
  readonly places: ReadonlyArray<InstanceTypeOffering>
  readonly spot: ReadonlyArray<SpotPrice>
}

/** A row for each type, zone and market. A price of nothing is a mistake of somebody's, not an offer. */
export const offersOf = ({ places, region, spot, types }: RegionRead, { regions }: Ec2Prices, diskGib: number): ReadonlyArray<Offer> => {
  const spotOf = new Map(spot.map(({ AvailabilityZone, InstanceType, SpotPrice: price }) => [`${InstanceType} ${AvailabilityZone}`, price]))
  return types.flatMap((type) => {
    const machineType = type.InstanceType
    const what = machineType === undefined ? undefined : shapeOf(type, diskGib)
    if (machineType === undefined || what === undefined) return []
    const zones = places.flatMap(({ InstanceType, Location }) => (InstanceType === machineType && Location !== undefined ? [Location] : [])).sort()
    return zones.flatMap((zone) => ([["on_demand", regions[region]?.[machineType]], ["spot", spotOf.get(`${machineType} ${zone}`)]] as const).flatMap(([market, perHour]): ReadonlyArray<Offer> => {
      const pricePicoPerSecond = perHour === undefined || !/^\d+(?:\.\d+)?$/u.test(perHour) ? 0n : picoPerSecondOfDollars(perHour)
      return pricePicoPerSecond === 0n ? [] : [{ machineType, market, ...what, pricePicoPerSecond, regions: [region], zone }]
    }))
  })
}

/** Undefined where our image would not run there, or what it holds is not said. */
const shapeOf = ({ GpuInfo, MemoryInfo, ProcessorInfo, VCpuInfo }: InstanceTypeInfo, diskGib: number): Pick<Offer, "resources" | "gpuModel" | "gpuMemoryMib"> | undefined => {
  if (VCpuInfo?.DefaultVCpus === undefined || MemoryInfo?.SizeInMiB === undefined || ProcessorInfo?.SupportedArchitectures?.includes("x86_64") !== true) return undefined
  const [gpu] = GpuInfo?.Gpus ?? []
  const gpus = gpu?.Count ?? 0
  const memory = gpu?.MemoryInfo?.SizeInMiB
  return {
    resources: { cpuMilli: VCpuInfo.DefaultVCpus * 1000, memoryMib: MemoryInfo.SizeInMiB, diskMib: diskGib * 1024, gpus },
    ...(gpus === 0 || gpu?.Name === undefined ? {} : { gpuModel: gpu.Name }),
    ...(gpus === 0 || memory === undefined || memory === 0 ? {} : { gpuMemoryMib: memory })
  }
}
