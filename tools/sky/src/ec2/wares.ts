import { dollars, madeUp, type Ware } from "../prices.ts"

/** On-demand, us-east-1, as aws/karpenter-provider-aws had it in its generated price table of 2026-07-20. */
const listed = "aws/karpenter-provider-aws zz_generated.pricing_aws.go (2026-07-20)"

/** Nobody publishes what spot costs but AWS to its customers: about a third of the list price, which is made up. */
const spotShare = 340n

const ware = (name: string, gpu: string | undefined, gpus: number, gpuMemoryGib: number, vcpus: number, memoryGib: number, perHour: string, source = listed): Ec2Ware => ({
  name, gpu, gpus, gpuMemoryGib, vcpus, memoryGib, picoPerHour: dollars(perHour), spotPicoPerHour: (dollars(perHour) * spotShare) / 1000n, source,
  zones: gpus >= 8 ? "ab" : "abc"
})

/** A type of instance, and in which zones of each region there are any. */
export interface Ec2Ware extends Ware {
  readonly zones: string
}

/** Names of GPUs are those of DescribeInstanceTypes. */
export const ec2Wares: ReadonlyArray<Ec2Ware> = [
  ware("t3.small", undefined, 0, 0, 2, 2, "0.0208", madeUp),
  ware("t3.medium", undefined, 0, 0, 2, 4, "0.0416", madeUp),
  ware("g4dn.xlarge", "T4", 1, 16, 4, 16, "0.526"),
  ware("g4dn.12xlarge", "T4", 4, 16, 48, 192, "3.912"),
  ware("g5.xlarge", "A10G", 1, 24, 4, 16, "1.006"),
  ware("g5.12xlarge", "A10G", 4, 24, 48, 192, "5.672"),
  ware("g5.48xlarge", "A10G", 8, 24, 192, 768, "16.288"),
  ware("g6.xlarge", "L4", 1, 24, 4, 16, "0.8048"),
  ware("g6.12xlarge", "L4", 4, 24, 48, 192, "4.6016"),
  ware("g6.48xlarge", "L4", 8, 24, 192, 768, "13.3504"),
  ware("g6e.xlarge", "L40S", 1, 48, 4, 32, "1.861"),
  ware("g6e.12xlarge", "L40S", 4, 48, 48, 384, "10.49264"),
  ware("p3.2xlarge", "V100", 1, 16, 8, 61, "3.06"),
  ware("p3.16xlarge", "V100", 8, 16, 64, 488, "24.48"),
  ware("p4d.24xlarge", "A100", 8, 40, 96, 1152, "21.957642"),
  ware("p4de.24xlarge", "A100", 8, 80, 96, 1152, "27.44705"),
  ware("p5.4xlarge", "H100", 1, 80, 16, 256, "6.88"),
  ware("p5.48xlarge", "H100", 8, 80, 192, 2048, "55.04"),
  ware("p5en.48xlarge", "H200", 8, 141, 192, 2048, "63.296"),
  ware("p6-b200.48xlarge", "B200", 8, 180, 192, 2048, "113.9328")
]

export const ec2Regions: ReadonlyArray<string> = ["us-east-1", "us-west-2", "eu-central-1"]

export const zonesOf = (region: string, { zones }: Pick<Ec2Ware, "zones"> = { zones: "abc" }): ReadonlyArray<string> => [...zones].map((letter) => `${region}${letter}`)

/** Spot costs another price in each zone. */
export const spotIn = ({ picoPerHour, spotPicoPerHour = picoPerHour }: Ware, zone: string): bigint =>
  (spotPicoPerHour * BigInt({ a: 1000, b: 940, c: 1080 }[zone.at(-1) ?? "a"] ?? 1000)) / 1000n
