import type { Instance, SpotInstanceRequest } from "@aws-sdk/client-ec2"
import { Schema } from "effect"
import type { Listed } from "../domain/sweep.ts"
import type { Refusal } from "./provider.ts"

/** How machines are started at EC2, where they may be, and what they cost. */
export const Ec2Settings = Schema.Struct({
  regions: Schema.Array(Schema.String.check(Schema.isPattern(/^[a-z]{2,4}(?:-[a-z]+)+-\d$/u))).check(Schema.isMinLength(1)),
  /**
   * The image with our agent: an id by region, or one name of the parameter store for all of them, such as
   * `resolve:ssm:/millrace/host`.
   */
  image: Schema.Union([Schema.NonEmptyString, Schema.Record(Schema.String, Schema.NonEmptyString)]),
  /** Zone to subnet. In a zone without one the account's default is taken, where it has any. */
  subnets: Schema.optionalKey(Schema.Record(Schema.String, Schema.NonEmptyString)),
  /** Region to groups. */
  securityGroups: Schema.optionalKey(Schema.Record(Schema.String, Schema.Array(Schema.NonEmptyString))),
  /** What the image calls its root disk, and how large it is made. It ends with its machine. */
  rootDevice: Schema.optionalKey(Schema.NonEmptyString),
  diskGib: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 8, maximum: 16_384 }))),
  /** A file of prices, as `Ec2Prices` has them. */
  priceFile: Schema.optionalKey(Schema.NonEmptyString),
  /** Which profile of the credentials file. */
  profile: Schema.optionalKey(Schema.NonEmptyString)
})
export type Ec2Settings = typeof Ec2Settings.Type

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** One profile of a credentials file as AWS's own tools write it: `[default]`, and lines of `name = value`. */
export const credentialsIn = (text: string, profile = "default"): AwsCredentials | undefined => {
  let section = ""
  const values = new Map<string, string>()
  for (const line of text.split(/\r?\n/u)) {
    const [, named] = /^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/u.exec(line) ?? []
    if (named !== undefined) section = named
    const [, name, value] = /^\s*([a-z_]+)\s*=\s*(\S+)\s*$/u.exec(line) ?? []
    if (section === profile && name !== undefined && value !== undefined) values.set(name, value)
  }
  const accessKeyId = values.get("aws_access_key_id")
  const secretAccessKey = values.get("aws_secret_access_key")
  const sessionToken = values.get("aws_session_token")
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
}

type Meaning = Pick<Refusal, "reason" | "narrows">

const meanings: ReadonlyArray<readonly [Meaning, ReadonlyArray<string>]> = [
  // Of one type, in one zone, on demand or as spot: everything else there may still be had.
  [{ reason: "out_of_capacity", narrows: "market" }, ["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "UnfulfillableCapacity", "ReservationCapacityExceeded"]],
  // Limits are those of a family of types and a market in a region. No word of ours means that, and a narrower one costs no more than another no.
  [{ reason: "quota", narrows: "market" }, ["VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"]],
  [{ reason: "quota", narrows: "zone" }, ["InsufficientFreeAddressesInSubnet"]],
  [{ reason: "quota", narrows: "region" }, ["VolumeLimitExceeded", "MaxIOPSLimitExceeded", "NetworkInterfaceLimitExceeded", "AddressLimitExceeded"]],
  [{ reason: "price_moved", narrows: "market" }, ["SpotMaxPriceTooLow"]],
  [{ reason: "offer_gone", narrows: "zone" }, ["Unsupported"]],
  [{ reason: "offer_gone", narrows: "type" }, ["InvalidInstanceType"]],
  [{ reason: "offer_gone", narrows: "offer" }, ["InvalidInstanceID.NotFound"]],
  [{ reason: "unauthorised", narrows: "provider" }, [
    "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "IncompleteSignature", "MissingAuthenticationToken",
    "RequestExpired", "ExpiredToken", "ExpiredTokenException", "OptInRequired", "Blocked", "PendingVerification", "CredentialsUnreadable"
  ]],
  [{ reason: "unauthorised", narrows: "region" }, ["UnauthorizedOperation"]],
  [{ reason: "rate_limited", narrows: "provider" }, ["RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"]],
  // Of a dry run alone: it would have gone through.
  [{ reason: "invalid", narrows: "offer" }, ["DryRunOperation"]],
  [{ reason: "invalid", narrows: "offer" }, ["OperationNotPermitted", "IncorrectInstanceState", "InvalidInstanceID.Malformed"]],
  [{ reason: "invalid", narrows: "zone" }, ["InvalidSubnetID.NotFound", "InvalidSubnet"]],
  [{ reason: "invalid", narrows: "region" }, [
    "InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable", "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound", "VPCIdNotSpecified"
  ]]
]

const byCode: ReadonlyMap<string, Meaning> = new Map(meanings.flatMap(([meaning, codes]) => codes.map((code) => [code, meaning] as const)))

/**
 * What an error of the API means. Undefined where it leaves open what has happened: a server's error that says
 * nothing of capacity or of throttling, and every code that we do not know.
 */
export const meaningOf = (code: string, message: string, status: number): Meaning | undefined => {
  const known = byCode.get(code)
  if (known !== undefined) return known
  if (status >= 500) return undefined
  // One code for whatever is no value of its parameter: the sentence says which.
  if (code === "InvalidParameterValue" && /InstanceType/iu.test(message)) return { reason: "offer_gone", narrows: "type" }
  if (code === "InvalidParameterValue" && /availability zone/iu.test(message)) return { reason: "offer_gone", narrows: "zone" }
  if (/^(?:Invalid|Missing|Unknown|Malformed|Unsupported)/u.test(code)) return { reason: "invalid", narrows: "type" }
  return /LimitExceeded$/u.test(code) ? { reason: "quota", narrows: "region" } : undefined
}

export const cellTag = "millrace-cell"

/** The vendor's two minutes, from when a spot instance was marked. */
const noticeMs = 120_000

/** When instances that are marked will be taken back, by their id. */
export const reclaimsIn = (requests: ReadonlyArray<SpotInstanceRequest>, nowMs: number): ReadonlyMap<string, number> =>
  new Map(requests.flatMap(({ InstanceId, Status }) => (InstanceId === undefined || Status?.Code !== "marked-for-termination" ? [] : [[InstanceId, (Status.UpdateTime?.getTime() ?? nowMs) + noticeMs] as const])))

/** A reason that begins so was the vendor's, not ours: a spot instance taken back, a launch that failed late, a host that broke. */
const isTheirs = ({ StateReason }: Instance): boolean => StateReason?.Code?.startsWith("Server.") === true

const standingOf = (instance: Instance): Listed["stands"] => {
  switch (instance.State?.Name) {
    case "pending":
      return "coming"
    case "shutting-down":
      return "ending"
    case "terminated":
      return isTheirs(instance) ? "reclaimed" : "terminated"
    default:
      // A stopped instance costs no hours and keeps its disk: it is ours to end, like one in a state that nobody documented.
      return "running"
  }
}

export const marketOf = ({ InstanceLifecycle }: Instance): "spot" | "on_demand" => (InstanceLifecycle === "spot" ? "spot" : "on_demand")

/** An instance as a sweep reads it. `pricePicoPerSecond`: as far as we know. */
export const listedOf = (instance: Instance, { pricePicoPerSecond, reclaimAtMs, region }: {
  readonly region: string
  readonly pricePicoPerSecond: bigint
  readonly reclaimAtMs: number | undefined
}): Listed => {
  const tag = (name: string) => instance.Tags?.find(({ Key }) => Key === name)?.Value
  const cell = tag(cellTag)
  const sinceMs = instance.LaunchTime?.getTime()
  const zone = instance.Placement?.AvailabilityZone
  return {
    machine: instance.InstanceId ?? "",
    region,
    machineType: instance.InstanceType ?? "",
    market: marketOf(instance),
    stands: standingOf(instance),
    pricePicoPerSecond,
    ...(zone === undefined ? {} : { zone }),
    ...(instance.ClientToken === undefined || instance.ClientToken === "" ? {} : { token: instance.ClientToken }),
    ...(cell === undefined ? {} : { cell }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(reclaimAtMs === undefined ? {} : { reclaimAtMs })
  }
}
