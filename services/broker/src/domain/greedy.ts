import type { DemandClass, Offer, ProviderName, Resources } from "@millrace/schemas"

/** What one machine could still take. */
export interface Room {
  cpuMilli: number
  memoryMib: number
  diskMib: number
  gpus: number
  readonly gpuModel: string | undefined
}

/** Something that could be bought now. */
export interface Choice {
  readonly provider: ProviderName
  readonly region: string
  readonly offer: Offer
}

type Class = typeof DemandClass.Type

/** An operating system and the agent take a tenth of a machine's memory. */
const memoryShare = 0.9

export const roomOf = ({ cpuMilli, diskMib, gpus, memoryMib }: Resources, gpuModel: string | undefined): Room => ({
  cpuMilli,
  memoryMib: Math.floor(memoryMib * memoryShare),
  diskMib,
  gpus,
  gpuModel
})

/** How many of a class fit into a room. */
export const fitting = ({ cpuMilli, gpuModels, gpus, memoryMib }: Class, room: Room): number => {
  if (gpus > 0 && gpuModels.length > 0 && (room.gpuModel === undefined || !gpuModels.includes(room.gpuModel))) return 0
  const by = (needs: number, has: number): number => (needs === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(has / needs))
  return Math.min(by(cpuMilli, room.cpuMilli), by(memoryMib, room.memoryMib), by(gpus, room.gpus))
}

const take = (room: Room, { cpuMilli, gpus, memoryMib }: Class, count: number): void => {
  room.cpuMilli -= cpuMilli * count
  room.memoryMib -= memoryMib * count
  room.gpus -= gpus * count
}

/** Largest first: small work fills what large work leaves. */
const inOrder = (classes: ReadonlyArray<Class>): ReadonlyArray<Class> =>
  [...classes].sort((a, b) => b.gpus - a.gpus || b.cpuMilli - a.cpuMilli || b.memoryMib - a.memoryMib || a.oldestSinceMs - b.oldestSinceMs)

/** The price of one of a class on a machine that is bought for it; the machine counts as full as it will be. */
const pricePerFit = (offer: Offer, fits: number, waiting: number): bigint =>
  (offer.pricePicoPerSecond * 1000n) / BigInt(Math.max(1, Math.min(fits, waiting)))

const cheaper = (one: readonly [bigint, Choice], other: readonly [bigint, Choice]): number => {
  if (one[0] !== other[0]) return one[0] < other[0] ? -1 : 1
  const [left, right] = [one[1], other[1]].map(({ offer, provider, region }) => `${provider}/${offer.machineType}/${region}`) as [string, string]
  return left < right ? -1 : left > right ? 1 : 0
}

/**
 * What to buy for what waits, cheapest for each class, after what is on its way has been filled. Pure: ties
 * go by name. `mayBuy` says no where a bound is reached; then the next cheaper machine may still fit under it.
 */
export const chooseGreedily = (
  classes: ReadonlyArray<Class>,
  onTheWay: ReadonlyArray<Room>,
  choices: ReadonlyArray<Choice>,
  mayBuy: (choice: Choice) => boolean,
  machinesMax: number
): ReadonlyArray<Choice> => {
  const rooms = onTheWay.map((room) => ({ ...room }))
  const bought: Array<Choice> = []
  for (const one of inOrder(classes)) {
    let waiting = one.waiting
    for (const room of rooms) {
      const count = Math.min(waiting, fitting(one, room))
      if (count <= 0) continue
      take(room, one, count)
      waiting -= count
    }
    while (waiting > 0 && bought.length < machinesMax) {
      const ranked = choices.flatMap((choice): ReadonlyArray<readonly [bigint, Choice]> => {
        const fits = fitting(one, roomOf(choice.offer.resources, choice.offer.gpuModel))
        return fits === 0 ? [] : [[pricePerFit(choice.offer, fits, waiting), choice]]
      }).sort(cheaper)
      const chosen = ranked.find(([, choice]) => mayBuy(choice))?.[1]
      if (chosen === undefined) break
      const room = roomOf(chosen.offer.resources, chosen.offer.gpuModel)
      const count = Math.min(waiting, fitting(one, room))
      take(room, one, count)
      rooms.push(room)
      bought.push(chosen)
      waiting -= count
    }
  }
  return bought
}
