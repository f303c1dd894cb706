import type { Machine, Stands } from "../books.ts"
import { dollars, dollarsText } from "../prices.ts"
import type { Site } from "../site.ts"
import { type Action, type Call, type Done, dryRunEnds, Ec2Error, type Filter, filtersIn, type Kept, matches, page } from "./call.ts"
import { launchIn } from "./launch.ts"
import { reservedZone } from "./reservations.ts"
import type { Xml } from "./query.ts"

/** A terminated instance is shown for about an hour. */
const shownMs = 3_600_000
/** What the vendor gives before it takes a spot instance back. */
const noticeMs = 120_000

const visible = ({ atMs, region, site }: Call): ReadonlyArray<Machine> =>
  site.listed(atMs).filter((machine) => machine.region === region && (machine.endedAtMs ?? atMs) > atMs - shownMs)

const runInstances = (call: Call): Done => {
  const { atMs, kept, nextId, parameters, region, site, tokens } = call
  const launch = launchIn(call)
  const { clientToken, ...asked } = launch
  dryRunEnds(parameters)
  // The token is of its region: elsewhere it asks for another instance.
  const key = `${region} ${clientToken}`
  const before = clientToken === "" ? undefined : tokens.get(key)
  const same = parameters.but("ClientToken")
  if (before !== undefined) {
    if (before.parameters !== same) throw new Ec2Error("IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
    return reservation(site, kept, before.machine)
  }
  const zone = asked.market === "reserved" ? reservedZone(call, asked.ware.name, asked.zones) : asked.zones.find((one) => site.hasCapacity({ type: asked.ware.name, region, zone: one, market: asked.market }))
  if (zone === undefined && asked.market === "reserved") throw new Ec2Error("ReservationCapacityExceeded", `There is no capacity left in a Capacity Reservation for ${asked.ware.name} in ${asked.zones.join(", ")}.`)
  if (zone === undefined) throw new Ec2Error("InsufficientInstanceCapacity", `We currently do not have sufficient ${asked.ware.name} capacity in the Availability Zone you requested (${asked.zones.join(", ")}).`, 500)
  const priceOf = asked.priceIn(zone)
  if (asked.maxPrice !== undefined && dollars(asked.maxPrice) < priceOf) {
    throw new Ec2Error("SpotMaxPriceTooLow", `Your Spot request price of ${asked.maxPrice} is lower than the minimum required Spot request fulfillment price of ${dollarsText(priceOf)}.`)
  }
  const make = (): Machine => {
    const machine = site.make({
      id: `i-${nextId("").slice(1)}`, name: clientToken, ware: asked.ware, region, zone, market: asked.market, tags: asked.tags, userData: asked.userData, picoPerHour: priceOf, endsWhenOff: asked.endsWhenOff
    }, atMs)
    kept.set(machine, {
      image: asked.image, clientToken, reservation: nextId("r"), volumeStays: asked.volumeStays,
      ...(asked.market === "spot" ? { spotRequest: nextId("sir") } : {}),
      ...(asked.maxPrice === undefined ? {} : { maxPrice: asked.maxPrice })
    })
    return machine
  }
  const machine = make()
  if (clientToken !== "") tokens.set(key, { parameters: same, machine })
  if (site.sky.strikes("doubled")) make()
  return { ...reservation(site, kept, machine), ...(site.sky.strikes("answersLost") ? { cut: true as const } : {}) }
}

const owner = "123456789012"

const reservation = (site: Site, kept: Call["kept"], machine: Machine): Readonly<Record<string, Xml>> =>
  ({ reservationId: kept.get(machine)?.reservation, ownerId: owner, groupSet: [], instancesSet: [instanceXml(site, machine, kept.get(machine))] })

const states: Readonly<Record<Stands, { readonly code: number; readonly name: string }>> = {
  booting: { code: 0, name: "pending" },
  active: { code: 16, name: "running" },
  terminating: { code: 32, name: "shutting-down" },
  terminated: { code: 48, name: "terminated" },
  stopped: { code: 80, name: "stopped" }
}

const stamp = (ms: number): string => new Date(ms).toISOString()
/** `2026-11-22 10:41:00 GMT`, as state transition reasons have it. */
const gmt = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} GMT`

const whyEnded = ({ ended, market, endedAtMs = 0 }: Machine): { readonly reason: string; readonly code: string; readonly message: string } => {
  switch (ended) {
    case "no_capacity":
      return { reason: "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request", code: "Server.InsufficientInstanceCapacity", message: "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request" }
    case "reclaimed":
      return market === "spot"
        ? { reason: "Server.SpotInstanceTermination: Spot instance termination", code: "Server.SpotInstanceTermination", message: "Server.SpotInstanceTermination: Spot instance termination" }
        : { reason: "Server.InternalError: Internal error", code: "Server.InternalError", message: "Server.InternalError: Internal error" }
    case "turned_off":
      return { reason: "Client.InstanceInitiatedShutdown: Instance initiated shutdown", code: "Client.InstanceInitiatedShutdown", message: "Client.InstanceInitiatedShutdown: Instance initiated shutdown" }
    default:
      return { reason: `User initiated (${gmt(endedAtMs)})`, code: "Client.UserInitiatedShutdown", message: "Client.UserInitiatedShutdown: User initiated shutdown" }
  }
}

const instanceXml = (site: Site, machine: Machine, kept: Kept | undefined): Xml => {
  const said = site.said(machine)
  const over = said === "terminated" || said === "terminating" ? whyEnded(machine) : undefined
  return {
    instanceId: machine.id,
    imageId: kept?.image,
    instanceState: states[said],
    privateDnsName: "",
    dnsName: "",
    reason: over?.reason ?? "",
    amiLaunchIndex: 0,
    instanceType: machine.ware.name,
    launchTime: stamp(machine.bornAtMs),
    placement: { availabilityZone: machine.zone, groupName: "", tenancy: "default" },
    monitoring: { state: "disabled" },
    stateReason: over === undefined ? undefined : { code: over.code, message: over.message },
    architecture: "x86_64",
    rootDeviceType: "ebs",
    virtualizationType: "hvm",
    clientToken: kept?.clientToken,
    tagSet: Object.entries(machine.tags).map(([key, value]) => ({ key, value })),
    hypervisor: "xen",
    instanceLifecycle: machine.market === "spot" ? "spot" : undefined,
    spotInstanceRequestId: kept?.spotRequest
  }
}

const instanceFilters = ["instance-state-name", "tag-key", "tag:", "client-token", "instance-id", "instance-type", "availability-zone", "instance-lifecycle"]

const describeInstances = (call: Call): Done => {
  const { kept, parameters, site } = call
  const ids = parameters.list("InstanceId")
  if (ids.length > 0 && parameters.number("MaxResults") !== undefined) throw new Ec2Error("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
  const filters = filtersIn(parameters, instanceFilters)
  const found = byIds(call, ids).filter((machine) => filters.every((filter) => holds(filter, machine, kept.get(machine), site)))
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, found, { max: 1_000 })
  return {
    reservationSet: items.map((machine) => ({ reservationId: kept.get(machine)?.reservation, ownerId: owner, groupSet: [], instancesSet: [instanceXml(site, machine, kept.get(machine))] })),
    nextToken
  }
}

const byIds = (call: Call, ids: ReadonlyArray<string>): ReadonlyArray<Machine> => {
  const malformed = ids.find((id) => !/^i-[0-9a-f]{8,17}$/u.test(id))
  if (malformed !== undefined) throw new Ec2Error("InvalidInstanceID.Malformed", `Invalid id: "${malformed}"`)
  const there = visible(call)
  const unknown = ids.filter((id) => !there.some((machine) => machine.id === id))
  if (unknown.length > 0) throw new Ec2Error("InvalidInstanceID.NotFound", `The instance ID '${unknown.join(", ")}' does not exist`)
  return ids.length === 0 ? there : there.filter(({ id }) => ids.includes(id))
}

const holds = ({ name, values }: Filter, machine: Machine, kept: Kept | undefined, site: Site): boolean => {
  if (name.startsWith("tag:")) return matches(values, machine.tags[name.slice(4)] ?? "\0")
  switch (name) {
    case "instance-state-name":
      return matches(values, states[site.said(machine)].name)
    case "tag-key":
      return Object.keys(machine.tags).some((key) => matches(values, key))
    case "client-token":
      return matches(values, kept?.clientToken ?? "")
    case "instance-id":
      return matches(values, machine.id)
    case "instance-type":
      return matches(values, machine.ware.name)
    case "availability-zone":
      return matches(values, machine.zone ?? "")
    default:
      return matches(values, machine.market === "spot" ? "spot" : "")
  }
}

const spotFilters = ["status-code", "state", "instance-id", "tag-key", "tag:", "spot-instance-request-id"]

interface SpotRequest {
  readonly machine: Machine
  readonly state: string
  readonly status: { readonly code: string; readonly updateTime: string; readonly message: string }
}

const spotRequestOf = (site: Site, machine: Machine): SpotRequest => {
  const said = site.said(machine)
  if (said === "terminated" || said === "terminating") {
    const code = machine.ended === "reclaimed" ? "instance-terminated-no-capacity" : "instance-terminated-by-user"
    return { machine, state: "closed", status: { code, updateTime: stamp(machine.endedAtMs ?? machine.bornAtMs), message: "Your Spot instance was terminated." } }
  }
  return machine.reclaimAtMs === undefined
    ? { machine, state: "active", status: { code: "fulfilled", updateTime: stamp(machine.bornAtMs), message: "Your Spot request is fulfilled." } }
    : { machine, state: "active", status: { code: "marked-for-termination", updateTime: stamp(machine.reclaimAtMs - noticeMs), message: "Your Spot instance is marked for termination." } }
}

const describeSpotInstanceRequests = (call: Call): Done => {
  const { kept, parameters, site } = call
  const filters = filtersIn(parameters, spotFilters)
  const fits = ({ machine, state, status }: SpotRequest) => filters.every(({ name, values }) => {
    if (name.startsWith("tag:") || name === "tag-key" || name === "instance-id") return holds({ name, values }, machine, kept.get(machine), site)
    return matches(values, name === "state" ? state : name === "status-code" ? status.code : kept.get(machine)?.spotRequest ?? "")
  })
  const found = visible(call).filter(({ market }) => market === "spot").map((machine) => spotRequestOf(site, machine)).filter(fits)
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, found, { max: 1_000 })
  return {
    spotInstanceRequestSet: items.map(({ machine, state, status }) => ({
      spotInstanceRequestId: kept.get(machine)?.spotRequest,
      spotPrice: kept.get(machine)?.maxPrice ?? dollarsText(machine.ware.picoPerHour),
      type: "one-time",
      state,
      status,
      instanceId: machine.id,
      createTime: stamp(machine.bornAtMs),
      launchedAvailabilityZone: machine.zone,
      instanceInterruptionBehavior: "terminate"
    })),
    nextToken
  }
}

const terminateInstances = (call: Call): Done => {
  const { atMs, parameters, site } = call
  const machines = byIds(call, parameters.list("InstanceId"))
  dryRunEnds(parameters)
  const before = machines.map((machine) => states[site.said(machine)])
  for (const machine of machines) {
    if (site.end(machine, atMs) === undefined) continue
    throw new Ec2Error("OperationNotPermitted", `The instance '${machine.id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.`)
  }
  return {
    instancesSet: machines.map((machine, at) => ({ instanceId: machine.id, currentState: states[site.said(machine)], previousState: before[at] })),
    ...(site.sky.strikes("endAnswersLost") ? { cut: true as const } : {})
  }
}

export const instances: Readonly<Record<string, Action>> = {
  RunInstances: {
    wants: ["ImageId", "MinCount", "MaxCount"],
    takes: ["InstanceType", "ClientToken", "TagSpecification", "UserData", "InstanceMarketOptions", "InstanceInitiatedShutdownBehavior", "Placement", "SubnetId", "SecurityGroupId", "BlockDeviceMapping", "IamInstanceProfile", "MetadataOptions", "KeyName", "EbsOptimized", "CapacityReservationSpecification"],
    does: runInstances
  },
  DescribeInstances: { wants: [], takes: ["InstanceId", "Filter", "MaxResults", "NextToken"], does: describeInstances },
  DescribeSpotInstanceRequests: { wants: [], takes: ["SpotInstanceRequestId", "Filter", "MaxResults", "NextToken"], does: describeSpotInstanceRequests },
  TerminateInstances: { wants: ["InstanceId"], takes: [], does: terminateInstances }
}
