import { dollarsText } from "../prices.ts"
import { type Action, type Call, dryRunEnds, Ec2Error, filtersIn, matches, page } from "./call.ts"
import type { Xml } from "./query.ts"
import { ec2Wares, type Ec2Ware, spotIn, zonesOf } from "./wares.ts"

const named = (names: ReadonlyArray<string>): ReadonlyArray<Ec2Ware> => {
  const unknown = names.filter((name) => !ec2Wares.some((ware) => ware.name === name))
  if (unknown.length > 0) throw new Ec2Error("InvalidInstanceType", `The following supplied instance types do not exist: [${unknown.join(", ")}]`)
  return names.length === 0 ? ec2Wares : ec2Wares.filter(({ name }) => names.includes(name))
}

const describeInstanceTypes = (call: Call) => {
  const { parameters } = call
  const names = parameters.list("InstanceType")
  if (names.length > 100) throw new Ec2Error("InvalidParameterValue", "No more than 100 instance types can be named at once.")
  const filters = filtersIn(parameters, ["instance-type", "processor-info.supported-architecture", "current-generation"])
  const found = named(names).filter(({ name }) => filters.every((filter) => filter.name !== "instance-type" || matches(filter.values, name)))
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, found, { max: 100 })
  return { instanceTypeSet: items.map(typeXml), nextToken }
}

const typeXml = ({ gpu, gpuMemoryGib = 0, gpus, memoryGib, name, vcpus }: Ec2Ware): Xml => ({
  instanceType: name,
  currentGeneration: true,
  freeTierEligible: false,
  supportedUsageClasses: ["on-demand", "spot"],
  supportedRootDeviceTypes: ["ebs"],
  supportedVirtualizationTypes: ["hvm"],
  bareMetal: false,
  hypervisor: "nitro",
  processorInfo: { supportedArchitectures: ["x86_64"], sustainedClockSpeedInGhz: 3 },
  vCpuInfo: { defaultVCpus: vcpus, defaultCores: Math.max(1, vcpus / 2), defaultThreadsPerCore: 2 },
  memoryInfo: { sizeInMiB: memoryGib * 1024 },
  instanceStorageSupported: false,
  ebsInfo: { ebsOptimizedSupport: "default", encryptionSupport: "supported" },
  networkInfo: { networkPerformance: "Up to 10 Gigabit", efaSupported: gpus >= 8 },
  gpuInfo: gpus === 0 ? undefined : {
    gpus: [{ name: gpu ?? "", manufacturer: "NVIDIA", count: gpus, memoryInfo: { sizeInMiB: gpuMemoryGib * 1024 } }],
    totalGpuMemoryInMiB: gpus * gpuMemoryGib * 1024
  },
  placementGroupInfo: { supportedStrategies: ["partition", "spread", "cluster"] }
})

const describeInstanceTypeOfferings = (call: Call) => {
  const { parameters, region } = call
  const by = parameters.text("LocationType") ?? "region"
  if (!["region", "availability-zone"].includes(by)) throw new Ec2Error("InvalidParameterValue", `Value ( ${by} ) for parameter locationType is invalid.`)
  const filters = filtersIn(parameters, ["instance-type", "location"])
  const all = ec2Wares.flatMap((ware) => (by === "region" ? [region] : zonesOf(region, ware)).map((location) => ({ instanceType: ware.name, locationType: by, location })))
  const found = all.filter((one) => filters.every(({ name, values }) => matches(values, name === "location" ? one.location : one.instanceType)))
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, found, { max: 1_000 })
  return { instanceTypeOfferingSet: items, nextToken }
}

const products = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]

/** What spot costs in each zone now: a start time of now asks for the prices that hold. */
const describeSpotPriceHistory = (call: Call) => {
  const { atMs, parameters, region, site } = call
  const asked = parameters.list("ProductDescription")
  const zone = parameters.text("AvailabilityZone")
  const found = named(parameters.list("InstanceType")).flatMap((ware) =>
    zonesOf(region, ware).filter((one) => zone === undefined || one === zone).map((availabilityZone) => ({
      instanceType: ware.name,
      productDescription: products[0]!,
      spotPrice: dollarsText(site.sky.priceOf(spotIn(ware, availabilityZone), { type: ware.name, region, zone: availabilityZone, market: "spot" })),
      timestamp: new Date(atMs - 60_000).toISOString(),
      availabilityZone
    })))
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, asked.length > 0 && !asked.some((one) => products.includes(one)) ? [] : found, { max: 1_000, min: 1 })
  return { spotPriceHistorySet: items, nextToken: nextToken ?? "" }
}

export const catalogue: Readonly<Record<string, Action>> = {
  DescribeInstanceTypes: { wants: [], takes: ["InstanceType", "Filter", "MaxResults", "NextToken"], does: describeInstanceTypes },
  DescribeInstanceTypeOfferings: { wants: [], takes: ["LocationType", "Filter", "MaxResults", "NextToken"], does: describeInstanceTypeOfferings },
  DescribeSpotPriceHistory: {
    wants: [],
    takes: ["StartTime", "EndTime", "InstanceType", "ProductDescription", "AvailabilityZone", "Filter", "MaxResults", "NextToken"],
    does: describeSpotPriceHistory
  }
}
