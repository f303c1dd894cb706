import type { CapacityReservation, InstanceTypeInfo, InstanceTypeOffering, SpotPrice } from "@aws-sdk/client-ec2"
import type { Offer } from "@millrace/schemas"
import { type Ec2Prices, picoPerSecondOfDollars } from "./ec2-prices.ts"

/** What one region sells: its types, in which zones each is, and what spot costs there. */
export interface RegionRead {
  readonly region: string
  readonly types: ReadonlyArray<InstanceTypeInfo>
  readonly places: ReadonlyArray<InstanceTypeOffering>
  readonly spot: ReadonlyArray<SpotPrice>
  /** What the account pays for there, used or not. */
  readonly reserved: ReadonlyArray<CapacityReservation>
}

/** A row for each type, zone and market, and for what is reserved one with how many of it are idle. A price of nothing is a mistake of somebody's, not an offer. */
export const offersOf = ({ places, region, reserved, spot, types }: RegionRead, { regions }: Ec2Prices, diskGib: number): ReadonlyArray<Offer> => {
  const spotOf = new Map(spot.map(({ AvailabilityZone, InstanceType, SpotPrice: price }) => [`${InstanceType} ${AvailabilityZone}`, price]))
  return types.flatMap((type) => {
    const machineType = type.InstanceType
    const what = machineType === undefined ? undefined : shapeOf(type, diskGib)
    if (machineType === undefined || what === undefined) return []
    const zones = places.flatMap(({ InstanceType, Location }) => (InstanceType === machineType && Location !== undefined ? [Location] : [])).sort()
    const perHour = regions[region]?.[machineType]
    return [...(perHour === undefined ? [] : reservedOf(reserved, machineType).map(([zone, stock]): Offer => ({ machineType, market: "reserved", ...what, pricePicoPerSecond: picoPerSecondOfDollars(perHour), regions: [region], zone, stock }))), ...zones.flatMap((zone) => ([["on_demand", regions[region]?.[machineType]], ["spot", spotOf.get(`${machineType} ${zone}`)]] as const).flatMap(([market, perHour]): ReadonlyArray<Offer> => {
      const pricePicoPerSecond = perHour === undefined || !/^\d+(?:\.\d+)?$/u.test(perHour) ? 0n : picoPerSecondOfDollars(perHour)
      return pricePicoPerSecond === 0n ? [] : [{ machineType, market, ...what, pricePicoPerSecond, regions: [region], zone }]
    }))]
  })
}

/** By zone, how many of a type are reserved and idle for whoever matches. */
const reservedOf = (reserved: ReadonlyArray<CapacityReservation>, type: string): ReadonlyArray<readonly [zone: string, idle: number]> => {
  const idle = new Map<string, number>()
  for (const { AvailabilityZone, AvailableInstanceCount = 0, InstanceMatchCriteria, InstanceType } of reserved) {
    if (InstanceType === type && AvailabilityZone !== undefined && InstanceMatchCriteria !== "targeted") idle.set(AvailabilityZone, (idle.get(AvailabilityZone) ?? 0) + AvailableInstanceCount)
  }
  return [...idle].sort(([a], [b]) => (a < b ? -1 : 1))
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
