import { Effect } from "effect"
import type { Broker } from "./broker.ts"
import type { Chance } from "./chance.ts"
import type { FaultName } from "./faults.ts"
import type { SimulatedProcess } from "./life.ts"

/** Faults that last a while, or strike at a moment of their own, at their worst this often in a run. */
const episodesMax: Readonly<Partial<Record<FaultName, number>>> = {
  crash: 4,
  reboot: 2,
  pause: 3,
  partition: 4,
  leaderless: 2,
  frozen_reader: 4,
  stale_replica: 4
}

export interface NemesisOptions {
  readonly broker: Broker
  readonly chance: Chance
  /** Virtual ms in which faults begin. */
  readonly forMs: number
  readonly processes: () => ReadonlyArray<SimulatedProcess>
  /** Starts a machine anew. */
  readonly reboot: () => void
}

/** Plans the faults of one run. What it plans is over, or is ended by `heal`, when the run drains. */
export const unleash = ({ broker, chance, forMs, processes, reboot }: NemesisOptions): void => {
  const plan = (fault: FaultName, strike: () => boolean) => {
    const rate = broker.swarm[fault]
    if (rate === 0) return
    const times = chance.between(1, Math.ceil((episodesMax[fault] ?? 1) * rate))
    for (let time = 0; time < times; time += 1) {
      broker.time.after(chance.between(0, forMs), () => {
        if (broker.swarm[fault] > 0 && strike()) broker.sometimes.saw(fault)
      })
    }
  }
  const onOne = (strike: (process: SimulatedProcess) => void) => () => {
    strike(chance.oneOf(processes()))
    return true
  }
  plan("crash", () => {
    const { life } = chance.oneOf(processes())
    if (life === undefined || !life.alive) return false
    life.end()
    return true
  })
  plan("reboot", () => {
    reboot()
    return true
  })
  plan("pause", onOne((process) => process.pause(chance.between(50, 6_000))))
  plan("partition", onOne((process) => {
    process.partitionedUntilMs = broker.time.nowMs + chance.between(100, 8_000)
  }))
  plan("leaderless", () => {
    broker.loseLeader(chance.between(100, 5_000))
    return true
  })
  const onFeed = (strike: (feed: Broker["feeds"][number]) => void) => () => {
    if (broker.feeds.length === 0) return false
    strike(chance.oneOf(broker.feeds))
    return true
  }
  plan("frozen_reader", onFeed((feed) => feed.freeze()))
  plan("stale_replica", onFeed((feed) => feed.lag(chance.between(100, 2_000), chance.between(500, 6_000))))
}

/** Ends every fault: from here on all must come to rest. */
export const heal = (broker: Broker, processes: ReadonlyArray<SimulatedProcess>): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const process of processes) {
      process.partitionedUntilMs = 0
      process.resume()
    }
    broker.heal()
  })
