import { type Column, type DemandClass, missedBy, type Offer, type ProviderName, type Resources, wishMetBy } from "@millrace/schemas"

type Class = typeof DemandClass.Type

/** What one machine could still take, and what kind of machine it is. */
export interface Room {
  cpuMilli: number
  memoryMib: number
  diskMib: number
  gpuMilli: number
  readonly gpuModel: string | undefined
  readonly gpuMemoryMib: number | undefined
  readonly provider: ProviderName
  readonly region: string
  /** It may be taken back. */
  readonly spot: boolean
  /** It is a container on somebody's machine. */
  readonly container: boolean
  /** A fast network joins it with others of its kind in its region. */
  readonly fabric: boolean
}

/** Something that could be bought now. */
export interface Choice {
  readonly provider: ProviderName
  readonly column: Column
  readonly offer: Offer
  /** Its price with what is known of how it turns out: what rarely comes or is soon lost counts as dearer. */
  readonly reckonedPico: bigint
  /** How many more of it the newest plan wants. */
  readonly lacking: number
}

/** An operating system and the agent take a tenth of a machine's memory. */
const memoryShare = 0.9

type Kind = Pick<Offer, "gpuModel" | "gpuMemoryMib" | "sells" | "fabric">

export const roomOf = (provider: ProviderName, { market, region }: Pick<Column, "market" | "region">, { cpuMilli, diskMib, gpus, memoryMib }: Resources, kind: Kind): Room => ({
  cpuMilli,
  memoryMib: Math.floor(memoryMib * memoryShare),
  diskMib,
  gpuMilli: gpus * 1000,
  gpuModel: kind.gpuModel,
  gpuMemoryMib: kind.gpuMemoryMib,
  provider,
  region,
  spot: market === "spot",
  container: kind.sells === "containers",
  fabric: kind.fabric === true
})

export const roomOfChoice = ({ column, offer, provider }: Choice): Room => roomOf(provider, column, offer.resources, offer)

/** Which wish of a class a room's GPUs meet, as its place in their order; -1: none. */
const wishOf = ({ gpu, gpuMilli = 0, gpuModels, gpus }: Class, room: Room): number => {
  if (gpus === 0 && gpuMilli === 0) return 0
  if (room.gpuModel === undefined) return -1
  const wishes = gpu !== undefined && gpu.length > 0 ? gpu : gpuModels.map((model) => ({ model }))
  return wishMetBy({ model: room.gpuModel, memoryMib: room.gpuMemoryMib }, wishes)
}

/**
 * Whether work of a class may be there at all: work of others needs a machine, and what is spot must be tolerated. How a
 * machine isolates is known when it has tried; before, of one where the agent is root the best is believed.
 */
const mayBeIn = ({ own, where }: Class, { container, provider, region, spot }: Room): boolean =>
  (!container || own === true) &&
  (!spot || where?.spot === "tolerated" || where?.spot === "rather") &&
  (where?.only === undefined || missedBy({ provider, region, isolation: container ? "none" : "gvisor-userns" }, where.only).length === 0)

/** How many of a class fit into a room. */
export const fitting = (one: Class, room: Room): number => {
  if (!mayBeIn(one, room) || wishOf(one, room) < 0) return 0
  const by = (needs: number, has: number): number => (needs === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(has / needs))
  const devices = Math.floor(room.gpuMilli / 1000)
  // Parts never lie across devices: what each device has left over is left over.
  const parts = one.gpuMilli === undefined || one.gpuMilli === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(room.gpuMilli / 1000) * Math.floor(1000 / one.gpuMilli)
  return Math.min(by(one.cpuMilli, room.cpuMilli), by(one.memoryMib, room.memoryMib), by(one.diskMib ?? 0, room.diskMib), by(one.gpus, devices), parts)
}

const take = (room: Room, { cpuMilli, diskMib = 0, gpuMilli = 0, gpus, memoryMib }: Class, count: number): void => {
  room.cpuMilli -= cpuMilli * count
  room.memoryMib -= memoryMib * count
  room.diskMib -= diskMib * count
  room.gpuMilli -= (gpus * 1000 + gpuMilli) * count
}

/** Gangs first, then the largest: small work fills what large work leaves. */
const inOrder = (classes: ReadonlyArray<Class>): ReadonlyArray<Class> =>
  [...classes].sort((a, b) => (b.gang ?? 1) - (a.gang ?? 1) || b.gpus - a.gpus || b.cpuMilli - a.cpuMilli || b.memoryMib - a.memoryMib || a.oldestSinceMs - b.oldestSinceMs)

interface Ranked {
  readonly choice: Choice
  readonly fits: number
  readonly wish: number
  /** How many more of it the plan wants now. */
  readonly lacking: number
  /** The price of one of the class; the machine counts as full as it will be. */
  readonly each: bigint
}

/** What was wished for most, then what a plan wants, then what is cheapest. */
const better = (one: Ranked, other: Ranked): number =>
  one.wish - other.wish || Number(other.lacking > 0) - Number(one.lacking > 0) || (one.each === other.each ? byName(one.choice, other.choice) : one.each < other.each ? -1 : 1)

export const nameOf = ({ column: { machineType, market, offer = "", region, zone = "" }, provider }: Choice): string => `${provider}/${machineType}/${region}/${zone}/${market}/${offer}`

const byName = (one: Choice, other: Choice): number => {
  const [left, right] = [nameOf(one), nameOf(other)]
  return left < right ? -1 : left > right ? 1 : 0
}

const ranking = (one: Class, choices: ReadonlyArray<Choice>, waiting: number, lackingOf: (choice: Choice) => number): ReadonlyArray<Ranked> =>
  choices.flatMap((choice): ReadonlyArray<Ranked> => {
    const room = roomOfChoice(choice)
    const fits = fitting(one, room)
    return fits === 0 ? [] : [{ choice, fits, wish: wishOf(one, room), lacking: lackingOf(choice), each: (choice.reckonedPico * 1000n) / BigInt(Math.max(1, Math.min(fits, waiting))) }]
  }).sort(better)

/** What fills what is on its way first, and what it leaves. A gang goes into rooms of one place that a network joins, or into none. */
const fill = (one: Class, rooms: ReadonlyArray<Room>): number => {
  const gang = one.gang ?? 1
  let waiting = one.waiting
  const places = gang === 1 ? rooms.map((room) => [room]) : [...Map.groupBy(rooms, (room) => room.fabric ? `${room.provider}/${room.region}` : room).values()]
  for (const place of places) {
    let left = Math.floor(Math.min(waiting, place.reduce((sum, room) => sum + fitting(one, room), 0)) / gang) * gang
    waiting -= left
    for (const room of place) {
      const count = Math.min(left, fitting(one, room))
      take(room, one, count)
      left -= count
    }
  }
  return waiting
}

/** What may be bought, and how long an ask would wait in line. */
export interface Spending {
  readonly may: (choice: Choice, count: number) => boolean
  readonly take: (choice: Choice, count: number) => void
  readonly lineMs: (choice: Choice) => number
}

/** The first that may be bought; of those that are as good the one whose ask waits least. */
const pick = (ranked: ReadonlyArray<Ranked>, gang: number, { lineMs, may }: Spending): Ranked | undefined => {
  const can = ({ choice, fits }: Ranked): boolean => {
    const count = Math.ceil(gang / fits)
    return (count === 1 || choice.offer.fabric === true) && may(choice, count)
  }
  const first = ranked.findIndex(can)
  let best = ranked[first]
  if (best === undefined) return undefined
  for (let at = first + 1; at < ranked.length; at += 1) {
    const other = ranked[at]!
    if (other.wish !== best.wish || other.each !== best.each || (other.lacking > 0) !== (best.lacking > 0)) break
    if (lineMs(other.choice) < lineMs(best.choice) && can(other)) best = other
  }
  return best
}

/**
 * What to buy for what waits, best for each class, after what is on its way has been filled. Pure: ties go by
 * line, then by name. Where a bound is reached the next machine may still fit under it. The machines of
 * a gang are bought together or not at all. `choices` is asked only where something is left to buy for.
 */
export const chooseGreedily = (
  classes: ReadonlyArray<Class>,
  onTheWay: ReadonlyArray<Room>,
  choices: () => ReadonlyArray<Choice>,
  spending: Spending,
  machinesMax: number
): ReadonlyArray<Choice> => {
  const rooms = onTheWay.map((room) => ({ ...room }))
  const bought: Array<Choice> = []
  const lackingOf = (choice: Choice): number => (choice.lacking === 0 ? 0 : choice.lacking - bought.filter((one) => one === choice).length)
  for (const one of inOrder(classes)) {
    const gang = one.gang ?? 1
    let waiting = fill(one, rooms)
    let ranked: ReadonlyArray<Ranked> = []
    let rankedFor = -1
    while (waiting >= gang && waiting > 0 && bought.length < machinesMax) {
      // How full a machine will be changes the order only where less waits than fits, and what the plan lacks only where it lacks some.
      if (rankedFor < 0 || ranked.some(({ fits, lacking }) => fits > waiting || lacking > 0)) ranked = ranking(one, choices(), waiting, lackingOf)
      rankedFor = waiting
      const chosen = pick(ranked, gang, spending)
      if (chosen === undefined) break
      spending.take(chosen.choice, Math.ceil(gang / chosen.fits))
      const made = Array.from({ length: Math.ceil(gang / chosen.fits) }, () => roomOfChoice(chosen.choice))
      rooms.push(...made)
      bought.push(...made.map(() => chosen.choice))
      waiting = fill({ ...one, waiting }, made)
    }
  }
  return bought
}
