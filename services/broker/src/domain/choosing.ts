import type { Column, LeaseId, Offer, ProviderName } from "@millrace/schemas"
import { inOrder, openIn } from "./bounds.ts"
import { blockNames } from "./blocks.ts"
import { chanceOf } from "./chances.ts"
import { type Choice, nameOf, type Room, roomOf, type Spending } from "./greedy.ts"
import { hostOf, shortOf } from "./hosts.ts"
import { type Lease, pricePerHourOf, stageOf } from "./lease.ts"
import { type Counted, counts, isPaidFor, openCounted, quotasIn, rowsIn, sharesIn, shareFloorGpus, stockLeft } from "./limits.ts"
import { perHour } from "./money.ts"
import type { State } from "./state.ts"
import { asksAtOnce } from "./suspensions.ts"

/** A plan steers for so long: by then there is a newer one, or whoever plans is gone. */
export const planMsMax = 90_000

/** A single offer that was seen so long ago is taken for gone: what waits then waits for the next look. */
const singleOfferMsMax = 90_000

export const freshPlan = ({ plan }: State, atMs: number): State["plan"] => (plan !== undefined && atMs - plan.atMs < planMsMax ? plan : undefined)

/** The columns that an offer stands for: one in each region, or the one zone or single machine that it names. */
export const columnsOf = ({ machineType, market, offer, regions, zone }: Offer): ReadonlyArray<Column> =>
  regions.map((region) => ({ region, ...(zone === undefined ? {} : { zone }), machineType, market, ...(offer === undefined ? {} : { offer }) }))

/** What is offered now under a column's own names. */
export const offerOf = (state: State, provider: ProviderName, { machineType, market, offer, region, zone }: Column): Offer | undefined =>
  rowsIn(state, provider).find((row) =>
    row.machineType === machineType && row.market === market && row.offer === offer && row.zone === zone && (row.regions.length === 0 || row.regions.includes(region)))

/** Leases that are open in each column, by its narrowest name. */
export const openByColumn = (state: State): ReadonlyMap<string, number> => {
  const open = new Map<string, number>()
  for (const { provider, released, requested } of state.leases.values()) {
    if (requested === undefined || released !== undefined) continue
    const name = blockNames(provider, requested.fact.column).offer
    open.set(name, (open.get(name) ?? 0) + 1)
  }
  return open
}

/** In pico-dollars a second: a price, made dearer by half of how often asking fails and by half of how surely the machine stays not. */
const reckoned = ({ pricePicoPerSecond, reliabilityPermille = 1000 }: Offer, permille: number): bigint =>
  (pricePicoPerSecond * BigInt(3000 - permille - Math.min(1000, reliabilityPermille))) / 1000n

/** What could be bought now: offered, not blocked, from providers that may be asked. A single machine on a market is there once. */
export const choicesIn = (state: State, atMs: number, isFrozen: (provider: ProviderName) => boolean): ReadonlyArray<Choice> => {
  const taken = new Set([...state.leases.values()].flatMap(({ provider, requested }) => requested?.fact.column.offer === undefined ? [] : [`${provider}#${requested.fact.column.offer}`]))
  const wanted = freshPlan(state, atMs)?.wanted
  const open = wanted === undefined ? undefined : openByColumn(state)
  return [...state.markets].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([provider, { observedAtMs }]) =>
    state.suspended.has(provider) || state.unauthorised.has(provider) || isFrozen(provider) ? [] : rowsIn(state, provider).flatMap((offer) =>
      // A price of nothing is an error of the list, never an offer.
      offer.pricePicoPerSecond <= 0n || (offer.offer !== undefined && atMs - observedAtMs > singleOfferMsMax) ? [] : columnsOf(offer).flatMap((column) => {
        const names = blockNames(provider, column)
        if (Object.values(names).some((name) => (state.blocked.get(name) ?? 0) > atMs) || taken.has(names.offer)) return []
        return [{
          provider,
          column,
          offer,
          reckonedPico: isPaidFor(column) ? 0n : reckoned(offer, chanceOf(state.chances, provider, column, atMs).permille),
          lacking: Math.max(0, (wanted?.get(names.offer) ?? 0) - (open?.get(names.offer) ?? 0))
        }]
      })))
}

/** No more than so much of what some machines are together. */
interface Ceiling {
  readonly holds: (one: Counted) => boolean
  readonly weight: (one: Counted) => number
  readonly most: number
  used: number
}

const machinesOf = () => 1
const gpusOf = ({ gpus }: Counted) => gpus
const coresOf = ({ cpuMilli }: Counted) => cpuMilli / 1000

/** Quotas and shares, with what is open counted against them. A share is of all GPUs that are open or waited for. */
const ceilingsIn = (state: State, atMs: number): ReadonlyArray<Ceiling> => {
  const [quotas, shares] = [quotasIn(state, atMs), sharesIn(state)]
  if (quotas.length + shares.length === 0) return []
  const open = openCounted(state)
  const ceiling = (holds: Ceiling["holds"], weight: Ceiling["weight"], most: number | undefined): ReadonlyArray<Ceiling> =>
    most === undefined ? [] : [{ holds, weight, most, used: open.reduce((sum, one) => sum + (holds(one) ? weight(one) : 0), 0) }]
  const waiting = (state.demand?.fact.classes ?? []).reduce((sum, one) => sum + one.waiting * (one.gpus + (one.gpuMilli ?? 0) / 1000), 0)
  const allGpus = waiting + open.reduce((sum, { gpus }) => sum + gpus, 0)
  return [
    ...quotas.flatMap(({ provider, ...quota }) => {
      const holds = (one: Counted) => counts(provider, quota, one)
      return [...ceiling(holds, machinesOf, quota.machinesMax), ...ceiling(holds, gpusOf, quota.gpusMax), ...ceiling(holds, coresOf, quota.coresMax)]
    }),
    ...shares.flatMap(({ permilleMax, provider }) => ceiling((one) => one.provider === provider, gpusOf, Math.max(shareFloorGpus, Math.floor((allGpus * permilleMax) / 1000))))
  ]
}

const countedChoice = ({ column, offer, provider }: Choice): Counted =>
  ({ provider, column, gpus: offer.resources.gpus, cpuMilli: offer.resources.cpuMilli, gpuModel: offer.gpuModel, gpuMemoryMib: offer.gpuMemoryMib })

/** Says of each choice whether it may be bought, and counts what was: machines, dollars an hour, quotas, and what a provider has and may be asked at once. */
export class Purse implements Spending {
  readonly #state: State
  readonly #atMs: number
  readonly #asks = new Map<ProviderName, number>()
  readonly #taken = new Map<string, number>()
  readonly #ceilings: ReadonlyArray<Ceiling>
  #machines: number
  #picoPerHour: bigint

  /** `from`: as it stands there, instead of anew. */
  constructor(state: State, atMs: number, from?: Purse) {
    this.#state = state
    this.#atMs = atMs
    if (from !== undefined) {
      this.#ceilings = from.#ceilings.map((one) => ({ ...one }))
      this.#machines = from.#machines
      this.#picoPerHour = from.#picoPerHour
      for (const [provider, asks] of from.#asks) this.#asks.set(provider, asks)
      for (const [name, taken] of from.#taken) this.#taken.set(name, taken)
      return
    }
    const open = openIn(state)
    this.#ceilings = ceilingsIn(state, atMs)
    this.#machines = open.machines
    this.#picoPerHour = open.picoPerHour
    for (const lease of state.leases.values()) if (stageOf(lease) === "asked") this.#asks.set(lease.provider, (this.#asks.get(lease.provider) ?? 0) + 1)
  }

  readonly tried = (): Purse => new Purse(this.#state, this.#atMs, this)

  readonly may = (choice: Choice, count: number): boolean => {
    const { bounds } = this.#state
    const { offer, provider } = choice
    if (bounds === undefined || this.#machines + count > bounds.machinesMax || this.#picoPerHour + this.#costOf(choice, count) > bounds.spendPicoPerHourMax) return false
    const stock = offer.offer === undefined ? stockLeft(this.#state, provider, choice.column, offer) : 1
    return (this.#asks.get(provider) ?? 0) + count <= asksAtOnce(this.#state, provider) &&
      (stock === undefined || (this.#taken.get(nameOf(choice)) ?? 0) + count <= stock) && this.#isWithin(countedChoice(choice), count)
  }

  readonly take = (choice: Choice, count: number): void => {
    this.#taken.set(nameOf(choice), (this.#taken.get(nameOf(choice)) ?? 0) + count)
    const counted = countedChoice(choice)
    for (const one of this.#ceilings) if (one.holds(counted)) one.used += one.weight(counted) * count
    this.#machines += count
    this.#picoPerHour += this.#costOf(choice, count)
    this.#asks.set(choice.provider, (this.#asks.get(choice.provider) ?? 0) + count)
  }

  readonly lineMs = ({ provider }: Choice): number => (this.#asks.get(provider) ?? 0) * (this.#state.markets.get(provider)?.asksEveryMs ?? 0)

  #isWithin(counted: Counted, count: number): boolean {
    return this.#ceilings.every(({ holds, most, used, weight }) => weight(counted) === 0 || !holds(counted) || used + weight(counted) * count <= most)
  }

  #costOf(choice: Choice, count: number): bigint {
    return isPaidFor(choice.column) ? 0n : perHour(mostPicoOf(choice)) * BigInt(count)
  }
}

/**
 * Spot is charged at what the market asks, and that moves: so much more of it is allowed for, in thousandths. At exactly the
 * price of a minute ago its next rise refuses the launch, or takes the machine back.
 */
const spotRisePermille = 100n

/** The most that a choice may cost a second. For a single offer that is its price: who bids more for it pays more. */
export const mostPicoOf = ({ column, offer: { pricePicoPerSecond } }: Pick<Choice, "column" | "offer">): bigint =>
  column.market === "spot" && column.offer === undefined ? (pricePicoPerSecond * (1000n + spotRisePermille)) / 1000n : pricePicoPerSecond

/** Takes one of a choice, if that may be. */
export const takeOne = (purse: Purse) => (choice: Choice): boolean => {
  const may = purse.may(choice, 1)
  if (may) purse.take(choice, 1)
  return may
}

/** Whether the scheduler knew of the lease's capacity when it said what waits. */
const isCounted = (state: State, lease: Lease): boolean => {
  const host = hostOf(state, lease)
  return host?.joined !== undefined && host.admitted !== undefined && state.demand !== undefined &&
    host.joined.sequence <= state.demand.sawHosts && host.admitted.sequence <= state.demand.sawAccess
}

/** Capacity that is on its way, or has come since the scheduler last said what waits. A second attempt is no more capacity than the first, nor is a successor. */
export const onTheWay = (state: State): ReadonlyArray<Room> =>
  inOrder(state).flatMap((lease) => {
    const { provider, requested } = lease
    const stage = stageOf(lease)
    if ((stage !== "asked" && stage !== "held") || requested === undefined || lease.reclaim !== undefined || isCounted(state, lease)) return []
    const { column, gpuModel, insteadOf, replaces, resources } = requested.fact
    if (lease.retiring !== undefined || (insteadOf !== undefined && state.leases.has(insteadOf)) || (replaces !== undefined && state.leases.has(replaces)) || shortOf(state, lease) !== undefined) return []
    const offer = offerOf(state, provider, column)
    return [roomOf(provider, column, resources, { gpuModel, gpuMemoryMib: offer?.gpuMemoryMib, sells: offer?.sells, fabric: offer?.fabric } as Parameters<typeof roomOf>[3])]
  })

/** Something else that does what a late lease was to do: elsewhere, no smaller, and not more than twice as dear. */
export const insteadOf = (lease: Lease, choices: ReadonlyArray<Choice>, purse: Purse): Choice | undefined => {
  if (lease.requested === undefined) return undefined
  const { column, gpuModel, resources } = lease.requested.fact
  const dearest = pricePerHourOf(lease) * 2n
  return choices.filter(({ column: other, offer, provider }) =>
    (provider !== lease.provider || other.region !== column.region || other.zone !== column.zone) &&
    other.market === column.market && offer.gpuModel === gpuModel &&
    offer.resources.gpus >= resources.gpus && offer.resources.cpuMilli >= resources.cpuMilli && offer.resources.memoryMib >= resources.memoryMib &&
    perHour(offer.pricePicoPerSecond) <= dearest
  ).sort((a, b) => a.reckonedPico === b.reckonedPico ? (nameOf(a) < nameOf(b) ? -1 : 1) : a.reckonedPico < b.reckonedPico ? -1 : 1).find(takeOne(purse))
}

/** Machines that the newest plan wants to be there, work or none: of each column as many as it wants, those with work first, then those that are there. */
export const keptByPlan = (state: State, atMs: number): ReadonlySet<LeaseId> => {
  const plan = freshPlan(state, atMs)
  const kept = new Set<LeaseId>()
  if (plan === undefined) return kept
  const left = new Map(plan.wanted)
  const open = inOrder(state).filter((lease) => (stageOf(lease) === "held" || stageOf(lease) === "asked") && lease.requested !== undefined)
  const rank = (lease: Lease): number => ((hostOf(state, lease)?.running.size ?? 0) > 0 ? 0 : stageOf(lease) === "held" ? 1 : 2)
  for (const lease of [0, 1, 2].flatMap((rung) => open.filter((one) => rank(one) === rung))) {
    const name = blockNames(lease.provider, lease.requested!.fact.column).offer
    const wanted = left.get(name) ?? 0
    if (wanted <= 0) continue
    left.set(name, wanted - 1)
    kept.add(lease.id)
  }
  return kept
}
