import type { CapacityReservation, EC2Client, EC2ClientConfig, Instance, InstanceTypeInfo, InstanceTypeOffering, RunInstancesCommandInput, SpotPrice } from "@aws-sdk/client-ec2"
import type { Column, ProviderName } from "@millrace/schemas"
import { Clock, Effect, type Scope } from "effect"
import type { Listed } from "../domain/sweep.ts"
import { checksOf } from "./checks.ts"
import { awsCredentialsIn, ec2PricesIn } from "./ec2-files.ts"
import { offersOf, type RegionRead } from "./ec2-offers.ts"
import { dollarsOfPicoPerSecond, type Ec2Prices, picoPerSecondOfDollars } from "./ec2-prices.ts"
import { type AwsCredentials, cellTag, Ec2Settings, listedOf, marketOf, meaningOf, reclaimsIn } from "./ec2-words.ts"
import { opening } from "./entry.ts"
import { answerMsMax, type Bought, type Capabilities, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "./provider.ts"
import { requestBudget } from "./request-budget.ts"

/** Where EC2 is, as whom we speak to it, and how machines are started there. */
export interface Ec2Options {
  readonly name: ProviderName
  /** `{region}` in it stands for the region. Undefined: the vendor's own. */
  readonly endpoint?: string
  /** Asked before each call. */
  readonly credentials: () => Promise<AwsCredentials>
  readonly settings: Ec2Settings
  readonly prices: Ec2Prices
  /** Another way to its endpoint than sockets. */
  readonly http?: NonNullable<EC2ClientConfig["requestHandler"]>
  readonly can?: Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">>
}

export const ec2Capabilities: Capabilities = {
  manner: "instances",
  sells: "machines",
  spot: true,
  noticeMs: 120_000,
  // Machines are not started in a placement group with its own network interfaces yet.
  fabric: false,
  deadManMs: undefined,
  // By `InstanceInitiatedShutdownBehavior`, which each launch asks for.
  endsWhenOff: true,
  userData: true,
  idempotent: true,
  visibleWithinMs: 60_000,
  // Refill of the token buckets: 20 reads and 2 launches a second, per region.
  requestsEvery: { anyMs: 50, createMs: 500 },
  billedStepMs: 1_000,
  billedMsMin: 60_000,
  writtenFrom: "Amazon EC2 API 2016-11-15, through @aws-sdk/client-ec2 3.1169.0"
}

const pagesMax = 400
const typesMax = 100
/** What is sold where changes within months. */
const catalogueMs = 3_600_000
/** Shorter than what the client takes for nearly expired, so it asks for keys before each call: exchanged ones serve at once. */
const keysMs = 60_000
/** An id that nobody has: with it a dry run of an ending is tried. */
const nobody = "i-00000000000000000"

type Catalogue = Omit<RegionRead, "spot" | "reserved">

/** Amazon EC2: instances on demand and as spot, by zones, under client tokens; one client a region, one budget for the key. */
export const ec2 = Effect.fnUntraced(function*(
  { can: other, credentials, endpoint, http = { connectionTimeout: 5_000, requestTimeout: answerMsMax }, name, prices, settings }: Ec2Options
): Effect.fn.Return<Provider, never, Scope.Scope> {
  const can: Capabilities = { ...ec2Capabilities, ...other }
  const { diskGib = 100, regions, rootDevice = "/dev/sda1" } = settings
  // It is large: who buys nothing there need not load it.
  const sdk = yield* Effect.promise(() => import("@aws-sdk/client-ec2"))
  const budget = yield* requestBudget(can.requestsEvery)
  const clients = new Map<string, EC2Client>()
  yield* Effect.addFinalizer(() => Effect.sync(() => {
    for (const client of clients.values()) client.destroy()
  }))
  for (const region of regions) {
    clients.set(region, new sdk.EC2Client({
      region,
      ...(endpoint === undefined ? {} : { endpoint: endpoint.replace("{region}", region) }),
      credentials: async () => ({ ...await credentials(), expiration: new Date(Date.now() + keysMs) }),
      // What is asked again, and when, is decided in one place, and not there.
      maxAttempts: 1,
      requestHandler: http
    }))
  }
  const unclear = (doing: string, detail: string) => new ProviderUnclear({ provider: name, doing, detail })
  /** Which region a machine is in, as far as it was seen; ids are unique in all of them. */
  const regionOf = new Map<string, string>()
  /** What spot cost when the offers were last read, by type and zone. */
  let spotPrices: ReadonlyMap<string, string> = new Map()
  const catalogues = new Map<string, { readonly untilMs: number; readonly read: Catalogue }>()

  /** One call in one region: its answer, a documented refusal, or nothing clear. */
  const call = <A>(doing: string, region: string, send: (client: EC2Client, signal: AbortSignal) => Promise<A>, turn: Effect.Effect<void> = budget.any): Effect.Effect<Told<A> | Refusal, ProviderUnclear> => {
    const client = clients.get(region)
    if (client === undefined) return Effect.succeed({ _tag: "Refusal", reason: "offer_gone", narrows: "region", detail: `${region} is none of the regions that are bought in: ${regions.join(", ")}` })
    return Effect.andThen(turn, Effect.tryPromise({ try: (signal) => send(client, signal), catch: failureOf }).pipe(
      Effect.map((value): Told<A> => ({ _tag: "Told", value })),
      Effect.timeout(answerMsMax),
      Effect.catch((failure) => failure._tag === "TimeoutError" ? unclear(doing, `no answer within ${answerMsMax} ms`) : Effect.flatMap(Clock.currentTimeMillis, (nowMs) => {
        const refusal = refusalOf(failure, region, nowMs)
        return refusal === undefined ? Effect.fail(unclear(doing, failure.detail)) : Effect.succeed(refusal)
      }))
    ))
  }

  /** Everything over all pages, or the first refusal. A list without an end is no list. */
  const pages = Effect.fnUntraced(function*<A>(
    doing: string, region: string, page: (client: EC2Client, signal: AbortSignal, NextToken: string | undefined) => Promise<{ readonly rows: ReadonlyArray<A> | undefined; readonly next: string | undefined }>
  ): Effect.fn.Return<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear> {
    const all: Array<A> = []
    let after: string | undefined
    for (let at = 0; at < pagesMax; at += 1) {
      const from = after
      const told = yield* call(doing, region, (client, signal) => page(client, signal, from))
      if (told._tag === "Refusal") return told
      all.push(...told.value.rows ?? [])
      if (told.value.next === undefined || told.value.next === "") return { _tag: "Told", value: all }
      after = told.value.next
    }
    return yield* unclear(doing, `more than ${pagesMax} pages`)
  })

  const inEachRegion = <A>(look: (region: string) => Effect.Effect<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear>): Effect.Effect<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear> =>
    Effect.map(Effect.forEach(regions, look, { concurrency: regions.length }), (told) => {
      const all: Array<A> = []
      for (const one of told) {
        if (one._tag === "Refusal") return one
        all.push(...one.value)
      }
      return { _tag: "Told", value: all }
    })

  /** As above, but what one region does not say is left out where another does: an outage there takes nothing from here. */
  const inWhicheverRegion = Effect.fnUntraced(function*<A>(look: (region: string) => Effect.Effect<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear>): Effect.fn.Return<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear> {
    const looks = yield* Effect.forEach(regions, (region) => Effect.result(look(region)), { concurrency: regions.length })
    const told = looks.flatMap((one) => (one._tag === "Success" && one.success._tag === "Told" ? [one.success.value] : []))
    const [first] = looks.filter((one) => one._tag === "Failure" || one.success._tag === "Refusal")
    if (first === undefined || told.length > 0) {
      if (first !== undefined) yield* Effect.logWarning(`${name} does not say in every region what it offers: ${first._tag === "Failure" ? first.failure.message : first.success._tag === "Refusal" ? first.success.detail : ""}`)
      return { _tag: "Told", value: told.flat() }
    }
    return first._tag === "Failure" ? yield* first.failure : first.success
  })

  const instancesIn = (region: string, Filters: ReadonlyArray<{ readonly Name: string; readonly Values: Array<string> }>) =>
    Effect.map(
      pages<Instance>("listing machines", region, async (client, abortSignal, NextToken) => {
        const said = await client.send(new sdk.DescribeInstancesCommand({ Filters: [...Filters], MaxResults: 1_000, NextToken }), { abortSignal })
        return { rows: said.Reservations?.flatMap(({ Instances = [] }) => Instances), next: said.NextToken }
      }),
      (told) => {
        if (told._tag === "Told") for (const { InstanceId } of told.value) if (InstanceId !== undefined) regionOf.set(InstanceId, region)
        return told
      }
    )

  const marked = (region: string) =>
    pages("reading which spot instances are taken back", region, async (client, abortSignal, NextToken) => {
      const said = await client.send(new sdk.DescribeSpotInstanceRequestsCommand({ Filters: [{ Name: "status-code", Values: ["marked-for-termination"] }], MaxResults: 1_000, NextToken }), { abortSignal })
      return { rows: said.SpotInstanceRequests, next: said.NextToken }
    })

  const priceOf = (instance: Instance, region: string): bigint => {
    const type = instance.InstanceType ?? ""
    const spot = marketOf(instance) === "spot" ? spotPrices.get(`${type} ${instance.Placement?.AvailabilityZone}`) : undefined
    return picoPerSecondOfDollars(spot ?? prices.regions[region]?.[type] ?? "0")
  }

  const listIn = Effect.fnUntraced(function*(region: string): Effect.fn.Return<Told<ReadonlyArray<Listed>> | Refusal, ProviderUnclear> {
    const told = yield* instancesIn(region, [{ Name: "tag-key", Values: [cellTag] }])
    if (told._tag === "Refusal") return told
    const spotRuns = told.value.some((instance) => marketOf(instance) === "spot" && instance.State?.Name === "running")
    const requests = spotRuns ? yield* marked(region) : { _tag: "Told" as const, value: [] }
    if (requests._tag === "Refusal") return requests
    const reclaims = reclaimsIn(requests.value, yield* Clock.currentTimeMillis)
    // A list may name one instance on two of its pages.
    const each = new Map(told.value.map((instance) => [instance.InstanceId, instance]))
    return { _tag: "Told", value: [...each.values()].map((instance) => listedOf(instance, { region, pricePicoPerSecond: priceOf(instance, region), reclaimAtMs: reclaims.get(instance.InstanceId ?? "") })) }
  })

  /** What is sold where, read again from time to time. */
  const catalogueIn = Effect.fnUntraced(function*(region: string): Effect.fn.Return<Told<Catalogue> | Refusal, ProviderUnclear> {
    const nowMs = yield* Clock.currentTimeMillis
    const known = catalogues.get(region)
    if (known !== undefined && nowMs < known.untilMs) return { _tag: "Told", value: known.read }
    // Where the list has no prices on demand, the same types may be had as spot, which says its own.
    const names = [...new Set(Object.values(prices.regions).flatMap(Object.keys))]
    const types: Array<InstanceTypeInfo> = []
    const places: Array<InstanceTypeOffering> = []
    for (let from = 0; from < names.length; from += typesMax) {
      const Filters = [{ Name: "instance-type", Values: names.slice(from, from + typesMax) }]
      const told = yield* pages("reading what it offers", region, async (client, abortSignal, NextToken) => {
        const said = await client.send(new sdk.DescribeInstanceTypesCommand({ Filters, MaxResults: 100, NextToken }), { abortSignal })
        return { rows: said.InstanceTypes, next: said.NextToken }
      })
      if (told._tag === "Refusal") return told
      const offered = yield* pages("reading where it offers that", region, async (client, abortSignal, NextToken) => {
        const said = await client.send(new sdk.DescribeInstanceTypeOfferingsCommand({ LocationType: "availability-zone", Filters, MaxResults: 1_000, NextToken }), { abortSignal })
        return { rows: said.InstanceTypeOfferings, next: said.NextToken }
      })
      if (offered._tag === "Refusal") return offered
      types.push(...told.value)
      places.push(...offered.value)
    }
    const read = { region, types, places }
    catalogues.set(region, { untilMs: nowMs + catalogueMs, read })
    return { _tag: "Told", value: read }
  })

  const readIn = Effect.fnUntraced(function*(region: string): Effect.fn.Return<Told<ReadonlyArray<RegionRead>> | Refusal, ProviderUnclear> {
    const catalogue = yield* catalogueIn(region)
    if (catalogue._tag === "Refusal") return catalogue
    const InstanceTypes = catalogue.value.types.flatMap(({ InstanceType }) => InstanceType ?? [])
    if (InstanceTypes.length === 0) return { _tag: "Told", value: [] }
    const now = new Date(yield* Clock.currentTimeMillis)
    const spot = yield* pages<SpotPrice>("reading what spot costs", region, async (client, abortSignal, NextToken) => {
      // A start of now asks for the prices that hold now.
      const said = await client.send(new sdk.DescribeSpotPriceHistoryCommand({ StartTime: now, InstanceTypes, ProductDescriptions: ["Linux/UNIX"], MaxResults: 1_000, NextToken }), { abortSignal })
      return { rows: said.SpotPriceHistory, next: said.NextToken }
    })
    if (spot._tag === "Refusal") return spot
    const reserved = yield* pages<CapacityReservation>("reading what is reserved", region, async (client, abortSignal, NextToken) => {
      const said = await client.send(new sdk.DescribeCapacityReservationsCommand({ Filters: [{ Name: "state", Values: ["active"] }], MaxResults: 1_000, NextToken }), { abortSignal })
      return { rows: said.CapacityReservations, next: said.NextToken }
    })
    // Who may not read it buys all the same.
    if (reserved._tag === "Refusal") yield* Effect.logWarning(`${name} does not say what is reserved in ${region}: ${reserved.detail}`)
    return { _tag: "Told", value: [{ ...catalogue.value, spot: spot.value, reserved: reserved._tag === "Told" ? reserved.value : [] }] }
  })

  const launch = (wish: Wish, DryRun: boolean): RunInstancesCommandInput => {
    const { column: { market, region, zone }, pricePicoPerSecondMax, token, userData } = wish
    const subnet = zone === undefined ? undefined : settings.subnets?.[zone]
    const groups = settings.securityGroups?.[region]
    // Nothing here may differ when it is asked for again: the vendor takes another request under the token for a mistake.
    const Tags = [{ Key: "Name", Value: token }, { Key: cellTag, Value: wish.cell }]
    return {
      DryRun,
      ClientToken: token,
      MinCount: 1,
      MaxCount: 1,
      ImageId: typeof settings.image === "string" ? settings.image : settings.image[region],
      InstanceType: wish.column.machineType as NonNullable<RunInstancesCommandInput["InstanceType"]>,
      UserData: Buffer.from(userData, "utf8").toString("base64"),
      // Work, or its dead man, that turns the machine off leaves nothing behind that costs.
      InstanceInitiatedShutdownBehavior: "terminate",
      BlockDeviceMappings: [{ DeviceName: rootDevice, Ebs: { VolumeSize: diskGib, VolumeType: "gp3", DeleteOnTermination: true } }],
      MetadataOptions: { HttpTokens: "required" },
      TagSpecifications: [...(["instance", "volume"] as const), ...(market === "spot" ? ["spot-instances-request"] as const : [])].map((ResourceType) => ({ ResourceType, Tags })),
      ...(subnet === undefined ? {} : { SubnetId: subnet }),
      ...(zone === undefined || subnet !== undefined ? {} : { Placement: { AvailabilityZone: zone } }),
      ...(groups === undefined ? {} : { SecurityGroupIds: [...groups] }),
      // What is paid for already: nothing else will do, for it would be paid for besides.
      ...(market === "reserved" ? { CapacityReservationSpecification: { CapacityReservationPreference: "capacity-reservations-only" as const } } : {}),
      ...(market === "spot" ? {
        InstanceMarketOptions: { MarketType: "spot", SpotOptions: { SpotInstanceType: "one-time", InstanceInterruptionBehavior: "terminate", MaxPrice: dollarsOfPicoPerSecond(pricePicoPerSecondMax) } }
      } : {})
    }
  }

  const run = (wish: Wish, DryRun = false) =>
    call("buying a machine", wish.column.region, (client, abortSignal) => client.send(new sdk.RunInstancesCommand(launch(wish, DryRun)), { abortSignal }), budget.create(wish.maySend))

  /** What a launch has made: a machine, or one that had failed before we were told. */
  const boughtOf = (instance: Instance | undefined, { region }: Column): Effect.Effect<Bought | Refusal, ProviderUnclear> => {
    if (instance?.InstanceId === undefined) return Effect.fail(unclear("buying a machine", "it names no machine"))
    regionOf.set(instance.InstanceId, region)
    const { InstanceId: machine, LaunchTime, State, StateReason } = instance
    if (State?.Name === "terminated") {
      return Effect.succeed({ _tag: "Refusal", reason: "out_of_capacity", narrows: "market", detail: `${machine} ended before it ran: ${StateReason?.Message ?? "no reason was given"}` })
    }
    return Effect.succeed({ _tag: "Bought", machine, ...(LaunchTime === undefined ? {} : { billedSinceMs: LaunchTime.getTime() }) })
  }

  /** The region of a machine, asked of each where it was not seen. Undefined: none knows it. */
  const findRegion = Effect.fnUntraced(function*(machine: string): Effect.fn.Return<Told<string | undefined> | Refusal, ProviderUnclear> {
    if (!regionOf.has(machine)) {
      const told = yield* inEachRegion((region) => instancesIn(region, [{ Name: "instance-id", Values: [machine] }]))
      if (told._tag === "Refusal") return told
    }
    return { _tag: "Told", value: regionOf.get(machine) }
  })

  const dryRuns = (region: string) => {
    const dry = (action: string, send: (client: EC2Client, signal: AbortSignal) => Promise<unknown>) =>
      [`ec2:${action} (${region})`, Effect.map(call(`trying ${action}`, region, send), dryRunSays)] as const
    const trial: Wish = {
      leaseId: "lse_00000000000000000000000000" as Wish["leaseId"], token: "millrace-check", cell: "check", userData: "", askedAtMs: 1, pricePicoPerSecondMax: 0n, maySend: Effect.void,
      column: { region, market: "on_demand", machineType: Object.keys(prices.regions[region] ?? {})[0] ?? "t3.small" }
    }
    const DryRun = true
    return [
      dry("DescribeInstanceTypes", (client, abortSignal) => client.send(new sdk.DescribeInstanceTypesCommand({ DryRun }), { abortSignal })),
      dry("DescribeInstanceTypeOfferings", (client, abortSignal) => client.send(new sdk.DescribeInstanceTypeOfferingsCommand({ DryRun }), { abortSignal })),
      dry("DescribeSpotPriceHistory", (client, abortSignal) => client.send(new sdk.DescribeSpotPriceHistoryCommand({ DryRun }), { abortSignal })),
      dry("DescribeInstances", (client, abortSignal) => client.send(new sdk.DescribeInstancesCommand({ DryRun }), { abortSignal })),
      dry("DescribeSpotInstanceRequests", (client, abortSignal) => client.send(new sdk.DescribeSpotInstanceRequestsCommand({ DryRun }), { abortSignal })),
      dry("DescribeCapacityReservations", (client, abortSignal) => client.send(new sdk.DescribeCapacityReservationsCommand({ DryRun }), { abortSignal })),
      [`ec2:RunInstances, ec2:CreateTags (${region})`, Effect.map(run(trial, true), dryRunSays)] as const,
      dry("TerminateInstances", (client, abortSignal) => client.send(new sdk.TerminateInstancesCommand({ DryRun, InstanceIds: [nobody] }), { abortSignal }))
    ]
  }

  return {
    name,
    can,
    offers: Effect.map(inWhicheverRegion(readIn), (told) => {
      if (told._tag === "Refusal") return told
      spotPrices = new Map(told.value.flatMap(({ spot }) => spot.flatMap(({ AvailabilityZone, InstanceType, SpotPrice: price }) => (price === undefined ? [] : [[`${InstanceType} ${AvailabilityZone}`, price] as const]))))
      return { _tag: "Told", value: { rows: told.value.flatMap((read) => offersOf(read, prices, diskGib)), source: `DescribeSpotPriceHistory; on demand: ${prices.source}` } }
    }),
    create: Effect.fnUntraced(function*(wish): Effect.fn.Return<Bought | Refusal, ProviderUnclear> {
      const told = yield* run(wish)
      if (told._tag === "Told") return yield* boughtOf(told.value.Instances?.[0], wish.column)
      if (!told.detail.startsWith("IdempotentParameterMismatch")) return told
      // It was asked for before, in other words, and was heard. What came of that is under the token.
      const found = yield* instancesIn(wish.column.region, [{ Name: "client-token", Values: [wish.token] }])
      if (found._tag === "Refusal") return yield* unclear("buying a machine", `its token is taken, and nothing can be seen: ${found.detail}`)
      if (found.value.length === 0) return yield* unclear("buying a machine", "its token is taken, and no machine is seen yet")
      return yield* boughtOf(found.value.find(({ State }) => State?.Name !== "terminated") ?? found.value[0], wish.column)
    }),
    list: inEachRegion(listIn),
    terminate: Effect.fnUntraced(function*(machine): Effect.fn.Return<Told<"ending" | "not_there"> | Refusal, ProviderUnclear> {
      const where = yield* findRegion(machine)
      if (where._tag === "Refusal") return where
      if (where.value === undefined) return { _tag: "Told", value: "not_there" }
      const told = yield* call("ending a machine", where.value, (client, abortSignal) => client.send(new sdk.TerminateInstancesCommand({ InstanceIds: [machine] }), { abortSignal }))
      if (told._tag === "Told") return { _tag: "Told", value: "ending" }
      return told.reason === "offer_gone" ? { _tag: "Told", value: "not_there" } : told
    }),
    check: Effect.suspend(() => checksOf(regions.flatMap(dryRuns)))
  }
})

interface Failure {
  readonly _tag: "Failure"
  readonly code: string
  readonly detail: string
  readonly message: string
  /** Undefined: there was no answer. */
  readonly status: number | undefined
}

const failureOf = (cause: unknown): Failure => {
  const { $metadata, message = String(cause), name = "" } = cause as { readonly name?: string; readonly message?: string; readonly $metadata?: { readonly httpStatusCode?: number } }
  return { _tag: "Failure", code: name, message, detail: `${name}: ${message}`.slice(0, 400), status: $metadata?.httpStatusCode }
}

/** Long enough for the token buckets to hold something again. */
const throttledMs = 2_000

const refusalOf = ({ code, detail, message, status }: Failure, region: string, nowMs: number): Refusal | undefined => {
  if (code === "IdempotentParameterMismatch") return { _tag: "Refusal", reason: "invalid", narrows: "offer", detail }
  // Keys that cannot be read are never sent: that is as clear as a no.
  const meaning = status === undefined && code !== "CredentialsUnreadable" ? undefined : meaningOf(code, message, status ?? 400)
  if (meaning === undefined) return undefined
  return { _tag: "Refusal", ...meaning, detail: `${detail} (${region})`, ...(meaning.reason === "rate_limited" ? { untilMs: nowMs + throttledMs } : {}) }
}

/** A dry run that would have gone through ends in an error that says so; one that fails for want of something else was allowed too. */
const dryRunSays = (told: Told<unknown> | Refusal): Told<unknown> | Refusal => {
  if (told._tag === "Told") return told
  if (told.detail.startsWith("DryRunOperation")) return { _tag: "Told", value: "allowed" }
  return ["offer_gone", "out_of_capacity", "quota"].includes(told.reason) ? { _tag: "Told", value: `not refused, and not proven: ${told.detail}` } : told
}

/** What an entry of EC2's says besides. Its key file is a credentials file as AWS's own tools write it. */
export const ec2Entry = opening({ ec2: Ec2Settings }, ({ can, endpoint, keyFile, name }, { ec2: settings }) =>
  Effect.flatMap(ec2PricesIn(settings.priceFile), (prices) => ec2({ name, endpoint, credentials: awsCredentialsIn(keyFile, settings.profile), settings, prices, can })))
