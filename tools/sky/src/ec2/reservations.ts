import { type Action, type Call, type Done, dryRunEnds, Ec2Error, filtersIn, matches, page } from "./call.ts"
import { ec2Wares } from "./wares.ts"

/** Capacity of one type in one zone that the account pays for, used or not; whoever matches it runs in it. */
export interface Reservation {
  readonly id: string
  readonly type: string
  readonly zone: string
  readonly instances: number
}

const heldIn = ({ site }: Pick<Call, "site">, { type, zone }: Reservation): number =>
  site.books.running.filter((machine) => machine.market === "reserved" && machine.ware.name === type && machine.zone === zone).length

/** A zone of the account in which a reservation of a type has room; the first, where several do. */
export const reservedZone = (call: Pick<Call, "site" | "account">, type: string, zones: ReadonlyArray<string>): string | undefined => {
  const { account: { reservations = [] } } = call
  return zones.find((zone) => {
    const own = reservations.filter((one) => one.type === type && one.zone === zone)
    return own.length > 0 && own.reduce((sum, { instances }) => sum + instances, 0) > heldIn(call, own[0]!)
  })
}

const describeCapacityReservations = (call: Call): Done => {
  const { account: { reservations = [] }, parameters, region } = call
  const filters = filtersIn(parameters, ["state", "instance-type", "availability-zone"])
  const found = reservations.filter(({ type, zone }) => zone.startsWith(region) && filters.every(({ name, values }) => matches(values, name === "state" ? "active" : name === "instance-type" ? type : zone)))
  dryRunEnds(parameters)
  const { items, nextToken } = page(call, found, { max: 1_000, min: 1 })
  return {
    capacityReservationSet: items.map((one) => ({
      capacityReservationId: one.id,
      instanceType: one.type,
      instancePlatform: "Linux/UNIX",
      availabilityZone: one.zone,
      tenancy: "default",
      totalInstanceCount: one.instances,
      availableInstanceCount: Math.max(0, one.instances - heldIn(call, one)),
      state: "active",
      instanceMatchCriteria: "open"
    })),
    nextToken
  }
}

/** What somebody reserved must be a type that there is. */
export const checkedReservations = (reservations: ReadonlyArray<Reservation>): ReadonlyArray<Reservation> => {
  const strange = reservations.find(({ type }) => !ec2Wares.some(({ name }) => name === type))
  if (strange !== undefined) throw new Ec2Error("InvalidParameterValue", `Invalid value '${strange.type}' for InstanceType.`)
  return reservations
}

export const reservations: Readonly<Record<string, Action>> = {
  DescribeCapacityReservations: { wants: [], takes: ["CapacityReservationId", "Filter", "MaxResults", "NextToken"], does: describeCapacityReservations }
}
