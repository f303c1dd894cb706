import type { Machine } from "../books.ts"
import { dollars } from "../prices.ts"
import { type Call, Ec2Error } from "./call.ts"
import type { Parameters } from "./query.ts"
import { ec2Wares, type Ec2Ware, spotIn, zonesOf } from "./wares.ts"

/** What RunInstances was asked for, where it makes sense. */
export interface Launch {
  readonly clientToken: string
  readonly ware: Ec2Ware
  readonly zones: ReadonlyArray<string>
  readonly market: Machine["market"]
  readonly maxPrice: string | undefined
  readonly image: string
  readonly tags: Readonly<Record<string, string>>
  readonly userData: string
  readonly volumeStays: boolean
  readonly endsWhenOff: boolean
  readonly priceIn: (zone: string) => bigint
}

const userDataBytesMax = 16_384
const invalid = (detail: string) => new Ec2Error("InvalidParameterValue", detail)

/** Reads and checks a launch as the API reference's RunInstances describes it; quota comes before capacity. */
export const launchIn = (call: Call): Launch => {
  const { account, parameters, region, site } = call
  const clientToken = parameters.text("ClientToken") ?? ""
  if (!/^[\x20-\x7e]{0,64}$/u.test(clientToken)) throw invalid("Value for parameter clientToken is invalid. It is longer than 64 ASCII characters.")
  for (const name of ["MinCount", "MaxCount"]) if (parameters.number(name) !== 1) throw invalid(`Value (${parameters.text(name)}) for parameter ${name} is invalid here: this pretend cloud starts one at a time.`)
  const image = imageIn(call)
  const type = parameters.text("InstanceType") ?? "m1.small"
  const ware = ec2Wares.find(({ name }) => name === type)
  if (ware === undefined) throw invalid(`Invalid value '${type}' for InstanceType.`)
  const zones = zonesIn(call, ware)
  for (const group of parameters.list("SecurityGroupId")) {
    if (account.securityGroups !== undefined && !account.securityGroups.includes(group)) throw new Ec2Error("InvalidGroup.NotFound", `The security group '${group}' does not exist`)
  }
  const behaviour = parameters.text("InstanceInitiatedShutdownBehavior")
  if (behaviour !== undefined && !["stop", "terminate"].includes(behaviour)) throw invalid(`Value (${behaviour}) for parameter instanceInitiatedShutdownBehavior is invalid.`)
  const { market, maxPrice } = marketIn(parameters)
  const wanted = { type: ware.name, region, market, ...(zones.length === 1 ? { zone: zones[0]! } : {}) }
  if (!site.sky.hasQuota(wanted)) {
    throw market === "spot"
      ? new Ec2Error("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
      : new Ec2Error("VcpuLimitExceeded", `You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket that the specified instance type belongs to.`)
  }
  return {
    clientToken, ware, zones, market, maxPrice, image,
    endsWhenOff: behaviour === "terminate",
    tags: tagsIn(parameters),
    userData: userDataIn(parameters),
    volumeStays: parameters.structs("BlockDeviceMapping").some((mapping) => mapping.under("Ebs").text("DeleteOnTermination") === "false"),
    priceIn: (zone) => site.sky.priceOf(market === "spot" ? spotIn(ware, zone) : ware.picoPerHour, { type: ware.name, region, zone, market })
  }
}

const imageIn = ({ account, parameters }: Call): string => {
  const image = parameters.text("ImageId") ?? ""
  if (!/^(?:ami-[0-9a-f]{8,17}|resolve:ssm:\S+)$/u.test(image)) throw new Ec2Error("InvalidAMIID.Malformed", `Invalid id: "${image}" (expecting "ami-...")`)
  if (account.images !== undefined && !account.images.includes(image)) throw new Ec2Error("InvalidAMIID.NotFound", `The image id '[${image}]' does not exist`)
  return image
}

const zonesIn = ({ account, parameters, region }: Call, ware: Ec2Ware): ReadonlyArray<string> => {
  const subnet = parameters.text("SubnetId")
  const named = parameters.under("Placement").text("AvailabilityZone")
  const ofSubnet = subnet === undefined ? undefined : account.subnets?.[subnet]
  if (subnet !== undefined && ofSubnet === undefined) throw new Ec2Error("InvalidSubnetID.NotFound", `The subnet ID '${subnet}' does not exist`)
  if (named !== undefined && ofSubnet !== undefined && named !== ofSubnet) throw invalid(`The availability zone ${named} is not that of the subnet.`)
  const zone = ofSubnet ?? named
  if (zone !== undefined && !zonesOf(region).includes(zone)) throw invalid(`Invalid availability zone: [${zone}]`)
  const sold = zonesOf(region, ware)
  if (zone !== undefined && !sold.includes(zone)) {
    throw new Ec2Error("Unsupported", `Your requested instance type (${ware.name}) is not supported in your requested Availability Zone (${zone}). Please retry your request by not specifying an Availability Zone or choosing ${sold.join(", ")}.`)
  }
  return zone === undefined ? sold : [zone]
}

const marketIn = (parameters: Parameters): { readonly market: Machine["market"]; readonly maxPrice: string | undefined } => {
  const options = parameters.under("InstanceMarketOptions")
  const type = options.text("MarketType")
  const preference = parameters.under("CapacityReservationSpecification").text("CapacityReservationPreference")
  if (preference !== undefined && !["open", "none", "capacity-reservations-only"].includes(preference)) throw invalid(`Value (${preference}) for parameter capacityReservationPreference is invalid.`)
  if (type === undefined) return { market: preference === "capacity-reservations-only" ? "reserved" : "on_demand", maxPrice: undefined }
  if (type !== "spot") throw invalid(`Value (${type}) for parameter marketType is invalid.`)
  const spot = options.under("SpotOptions")
  const maxPrice = spot.text("MaxPrice")
  if (maxPrice !== undefined && !(/^\d+(\.\d{1,12})?$/u.test(maxPrice) && dollars(maxPrice) > 1_000_000_000n)) throw invalid("The maximum price must be more than 0.001.")
  if (spot.text("SpotInstanceType") === "persistent" && (spot.text("InstanceInterruptionBehavior") ?? "terminate") === "terminate") {
    throw new Ec2Error("InvalidParameterCombination", "Persistent Spot Instance requests are supported only with the interruption behaviors hibernate and stop.")
  }
  if (spot.text("ValidUntil") !== undefined) throw new Ec2Error("InvalidParameterCombination", "ValidUntil is not supported for one-time requests.")
  return { market: "spot", maxPrice }
}

/** Of the instance alone: other resources' tags are theirs. */
const tagsIn = (parameters: Parameters): Readonly<Record<string, string>> => {
  const tags: Record<string, string> = {}
  for (const specification of parameters.structs("TagSpecification")) {
    const of = specification.text("ResourceType") ?? ""
    if (!["instance", "volume", "spot-instances-request", "network-interface"].includes(of)) throw invalid(`'${of}' is not a valid taggable resource type for this operation.`)
    for (const tag of specification.structs("Tag")) {
      const key = tag.text("Key") ?? ""
      const value = tag.text("Value") ?? ""
      if (key === "" || key.length > 127 || value.length > 255 || key.startsWith("aws:")) throw invalid(`Tag ${key} is not valid.`)
      if (of === "instance") tags[key] = value
    }
  }
  return tags
}

const userDataIn = (parameters: Parameters): string => {
  const text = parameters.text("UserData")
  if (text === undefined) return ""
  const bytes = Buffer.from(text, "base64")
  if (bytes.toString("base64").replace(/=+$/u, "") !== text.replace(/=+$/u, "")) throw invalid("Invalid BASE64 encoding of user data.")
  if (bytes.length > userDataBytesMax) throw invalid("User data is limited to 16384 bytes")
  return bytes.toString("utf8")
}
