import { type Column, type DemandClass, missedBy, type Offer, type ProviderName, type Resources, unisolated, wishMetBy } from "@millrace/schemas"

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
  readonly zone: string | undefined
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

export const roomOf = (provider: ProviderName, { market, region, zone }: Pick<Column, "market" | "region" | "zone">, { cpuMilli, diskMib, gpus, memoryMib }: Resources, kind: Kind): Room => ({
  cpuMilli,
  memoryMib: Math.floor(memoryMib * memoryShare),
  diskMib,
  gpuMilli: gpus * 1000,
  gpuModel: kind.gpuModel,
  gpuMemoryMib: kind.gpuMemoryMib,
  provider,
  region,
  zone,
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
  (where?.only === undefined || missedBy({ provider, region, isolation: container ? unisolated : "gvisor-userns" }, where.only).length === 0)

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

/** What begins together: so many, and where they are near enough to each other. Undefined: in that room nothing of it can begin. */
interface Gang {
  readonly members: number
  readonly placeOf: (room: Room) => string | undefined
}

/** Each machine is a place of its own where nothing joins two. */
const gangOf = ({ gang = 1, together }: Class): Gang => {
  if (gang > 1) return { members: gang, placeOf: ({ fabric, provider, region }) => (fabric ? `${provider}/${region}` : alone) }
  switch (together?.on) {
    case undefined:
      return { members: 1, placeOf: () => alone }
    case "zone":
      return { members: together!.members, placeOf: ({ provider, region, zone }) => (zone === undefined ? undefined : `${provider}/${region}/${zone}`) }
    case "provider":
      return { members: together!.members, placeOf: ({ provider }) => provider }
    case "anywhere":
      return { members: together!.members, placeOf: () => "anywhere" }
  }
}

const alone = "alone"

/** Rooms by place: what is alone is a place by itself. */
const placesIn = <One>(all: ReadonlyArray<One>, placeOf: (one: One) => string | undefined): ReadonlyMap<string, ReadonlyArray<One>> => {
  const places = new Map<string, Array<One>>()
  for (const [at, one] of all.entries()) {
    const place = placeOf(one)
    if (place === undefined) continue
    const name = place === alone ? `${alone} ${at}` : place
    const there = places.get(name)
    if (there === undefined) places.set(name, [one])
    else there.push(one)
  }
  return places
}

/** Gangs first, then the largest: small work fills what large work leaves. */
const inOrder = (classes: ReadonlyArray<Class>): ReadonlyArray<Class> =>
  [...classes].sort((a, b) => gangOf(b).members - gangOf(a).members || b.gpus - a.gpus || b.cpuMilli - a.cpuMilli || b.memoryMib - a.memoryMib || a.oldestSinceMs - b.oldestSinceMs)

interface Ranked {
  readonly choice: Choice
  readonly fits: number
  /** It has GPUs, and the class wants none. */
  readonly wastesGpus: boolean
  readonly wish: number
  /** How many more of it the plan wants now. */
  readonly lacking: number
  /** The price of one of the class; the machine counts as full as it will be. */
  readonly each: bigint
}

/** What has no GPUs where none are wanted, then what was wished for most, then what a plan wants, then what is cheapest. */
const better = (one: Ranked, other: Ranked): number =>
  Number(one.wastesGpus) - Number(other.wastesGpus) || one.wish - other.wish || Number(other.lacking > 0) - Number(one.lacking > 0) || (one.each === other.each ? byName(one.choice, other.choice) : one.each < other.each ? -1 : 1)

export const nameOf = ({ column: { machineType, market, offer = "", region, zone = "" }, provider }: Choice): string => `${provider}/${machineType}/${region}/${zone}/${market}/${offer}`

const byName = (one: Choice, other: Choice): number => {
  const [left, right] = [nameOf(one), nameOf(other)]
  return left < right ? -1 : left > right ? 1 : 0
}

const ranking = (one: Class, choices: ReadonlyArray<Choice>, waiting: number, lackingOf: (choice: Choice) => number): ReadonlyArray<Ranked> =>
  choices.flatMap((choice): ReadonlyArray<Ranked> => {
    const room = roomOfChoice(choice)
    const fits = fitting(one, room)
    const wastesGpus = one.gpus === 0 && (one.gpuMilli ?? 0) === 0 && choice.offer.resources.gpus > 0
    return fits === 0 ? [] : [{ choice, fits, wastesGpus, wish: wishOf(one, room), lacking: lackingOf(choice), each: (choice.reckonedPico * 1000n) / BigInt(Math.max(1, Math.min(fits, waiting))) }]
  }).sort(better)

/** What fills what is on its way first, and what it leaves. A gang goes into rooms of one place that are near enough, or into none. */
const fill = (one: Class, rooms: ReadonlyArray<Room>): number => {
  const { members, placeOf } = gangOf(one)
  let waiting = one.waiting
  for (const place of placesIn(rooms, placeOf).values()) {
    let left = Math.floor(Math.min(waiting, place.reduce((sum, room) => sum + fitting(one, room), 0)) / members) * members
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
  /** The same, to try with: what is taken from it is taken from nothing else. */
  readonly tried: () => Spending
}

/** The first that may be bought; of those that are as good the one whose ask waits least. */
const pick = (ranked: ReadonlyArray<Ranked>, { lineMs, may }: Spending): Ranked | undefined => {
  const can = ({ choice }: Ranked): boolean => may(choice, 1)
  const first = ranked.findIndex(can)
  let best = ranked[first]
  if (best === undefined) return undefined
  for (let at = first + 1; at < ranked.length; at += 1) {
    const other = ranked[at]!
    if (other.wastesGpus !== best.wastesGpus || other.wish !== best.wish || other.each !== best.each || (other.lacking > 0) !== (best.lacking > 0)) break
    if (lineMs(other.choice) < lineMs(best.choice) && can(other)) best = other
  }
  return best
}

/** Machines of one place that hold a gang together, with what is on its way there. */
interface Bundle {
  readonly choices: ReadonlyArray<Choice>
  readonly wish: number
  readonly wastesGpus: boolean
  /** The newest plan wants all of them. */
  readonly planned: boolean
  readonly picoPerSecond: bigint
}

const bundleBefore = (one: Bundle, other: Bundle | undefined): boolean => {
  if (other === undefined) return true
  const rung = Number(one.wastesGpus) - Number(other.wastesGpus) || one.wish - other.wish || Number(other.planned) - Number(one.planned)
  return rung === 0 ? one.picoPerSecond < other.picoPerSecond : rung < 0
}

/** The first that hold so many, in order: as many of each as there are. Undefined: together they hold too few. */
const gathered = (ranked: ReadonlyArray<Ranked>, needed: number, spending: Spending): Bundle | undefined => {
  const tried = spending.tried()
  const choices: Array<Choice> = []
  let [left, wish, wastesGpus, planned, picoPerSecond] = [needed, 0, false, true, 0n]
  for (const one of ranked) {
    for (let count = 1; left > 0 && tried.may(one.choice, 1); left -= one.fits, count += 1) {
      tried.take(one.choice, 1)
      choices.push(one.choice)
      planned &&= count <= one.lacking
      wish = Math.max(wish, one.wish)
      wastesGpus ||= one.wastesGpus
      picoPerSecond += one.choice.reckonedPico
    }
    if (left <= 0) return { choices, wish, wastesGpus, planned, picoPerSecond }
  }
  return undefined
}

/**
 * What holds a whole gang in one place: all of one kind where that can be had, else the best of several. What is on its way to the
 * place counts, so that a gang whose members were asked for in part is asked for only as far as it is not whole.
 */
const bundleFor = (one: Class, { members, placeOf }: Gang, ranked: ReadonlyArray<Ranked>, rooms: ReadonlyArray<Room>, spending: Spending): ReadonlyArray<Choice> => {
  let best: Bundle | undefined
  const there = placesIn(rooms, placeOf)
  for (const [name, place] of placesIn(ranked, ({ choice }) => placeOf(roomOfChoice(choice)))) {
    const needed = members - (name.startsWith(alone) ? 0 : (there.get(name) ?? []).reduce((sum, room) => sum + fitting(one, room), 0))
    if (needed <= 0) continue
    const ofOne = place.map((each) => (name.startsWith(alone) && each.fits < needed ? undefined : gathered([each], needed, spending)))
    for (const bundle of ofOne) if (bundle !== undefined && bundleBefore(bundle, best)) best = bundle
    if (name.startsWith(alone) || ofOne.some((bundle) => bundle !== undefined)) continue
    const mixed = gathered(place, needed, spending)
    if (mixed !== undefined && bundleBefore(mixed, best)) best = mixed
  }
  return best?.choices ?? []
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
    const gang = gangOf(one)
    let waiting = fill(one, rooms)
    let ranked: ReadonlyArray<Ranked> = []
    let rankedFor = -1
    while (waiting >= gang.members && waiting > 0 && bought.length < machinesMax) {
      // How full a machine will be changes the order only where less waits than fits, and what the plan lacks only where it lacks some.
      if (rankedFor < 0 || ranked.some(({ fits, lacking }) => fits > waiting || lacking > 0)) ranked = ranking(one, choices(), waiting, lackingOf)
      rankedFor = waiting
      const single = gang.members > 1 ? undefined : pick(ranked, spending)
      const chosen = gang.members > 1 ? bundleFor(one, gang, ranked, rooms, spending) : single === undefined ? [] : [single.choice]
      if (chosen.length === 0) break
      for (const choice of chosen) spending.take(choice, 1)
      const made = chosen.map(roomOfChoice)
      rooms.push(...made)
      bought.push(...chosen)
      waiting = gang.members > 1 ? fill({ ...one, waiting }, rooms) : fill({ ...one, waiting }, made)
    }
  }
  return bought
}
