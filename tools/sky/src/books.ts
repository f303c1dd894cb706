import type { Ware } from "./prices.ts"

/** How a cloud counts what it charges for. */
export interface Billing {
  readonly stepMs: number
  readonly minMs: number
  /** From when a machine is charged for: from the request on, or from when it runs. */
  readonly from: "asked" | "running"
  /** Until when: until its end is asked for, or until it is gone. */
  readonly until: "end_asked" | "gone"
}

export type Stands = "booting" | "active" | "stopped" | "terminating" | "terminated"

/** A machine as it truly is, whatever anybody was told of it. */
export interface Machine {
  readonly cloud: string
  readonly id: string
  /** The name or token that it was asked for under; empty where none was given. */
  readonly name: string
  readonly ware: Ware
  readonly region: string
  readonly zone?: string
  readonly market: "on_demand" | "spot" | "reserved"
  /** What it was sold for, an hour. */
  readonly soldPicoPerHour: bigint
  /** What it costs an hour while it is there and does not run, at clouds that charge less for that. */
  readonly idlePicoPerHour?: bigint
  readonly tags: Readonly<Record<string, string>>
  readonly userData: string
  readonly bornAtMs: number
  /** Lists show it from here on. */
  visibleAtMs: number
  stands: Stands
  /** What its cloud says instead of the truth. */
  says?: Stands
  /** When it is up. Never, for one that fails before that. */
  readonly bootsAtMs: number
  /** It is made, and ends by itself at this time for want of capacity. */
  readonly failsAtMs?: number
  /** What runs on it: nothing, where it never boots. */
  readonly powered: boolean
  /** Its cloud takes it back then. */
  reclaimAtMs?: number
  /** When it is known to be gone: the request to end it sets this ahead. */
  endedAtMs?: number
  ended?: "asked" | "reclaimed" | "no_capacity" | "crashed" | "turned_off"
  /** One that turns itself off is gone; any other is stopped, and costs on. */
  readonly endsWhenOff?: boolean
  /** It has turned itself off, and its cloud has not seen it yet. */
  off?: boolean
  /** What it costs an hour, from each moment on. Nothing is charged before the first. */
  readonly tariff: Array<{ readonly fromMs: number; readonly picoPerHour: bigint }>
  chargedUntilMs?: number
}

/** What one machine truly cost. */
export interface Bill {
  readonly cloud: string
  readonly machine: string
  readonly name: string
  readonly market: Machine["market"]
  readonly sinceMs: number
  readonly endedAtMs: number | undefined
  /** By the cloud's step and minimum. */
  readonly billedMs: number
  readonly costPico: bigint
}

/** What truly runs and what it truly costs: the truth that tests compare with what a broker believes. */
export class Books {
  readonly #machines: Array<Machine> = []
  readonly #billing: Billing

  constructor(billing: Billing) {
    this.#billing = billing
  }

  add(machine: Machine): void {
    this.#machines.push(machine)
  }

  /** The latest of that id: a cloud may give one twice. */
  get(id: string): Machine | undefined {
    return this.#machines.findLast((machine) => machine.id === id)
  }

  get all(): ReadonlyArray<Machine> {
    return this.#machines
  }

  /** Machines that are truly there, and cost money now or will when they are up. */
  get running(): ReadonlyArray<Machine> {
    return this.all.filter(({ stands }) => stands !== "terminated")
  }

  /** From this moment on it costs so much. */
  charge(machine: Machine, picoPerHour: bigint, fromMs: number): void {
    machine.tariff.push({ fromMs, picoPerHour })
  }

  /** Each machine's cost so far, in whole steps and at least the minimum; what never ran costs nothing. Rounded up. */
  bills(nowMs: number): ReadonlyArray<Bill> {
    return this.all.map((machine) => {
      const { cloud, endedAtMs, id, market, name, tariff } = machine
      const sinceMs = tariff[0]?.fromMs ?? machine.bornAtMs
      const untilMs = Math.max(sinceMs, machine.chargedUntilMs ?? nowMs)
      const { minMs, stepMs } = this.#billing
      const billedMs = tariff.length === 0 ? 0 : Math.max(minMs, Math.ceil((untilMs - sinceMs) / stepMs) * stepMs)
      return { cloud, machine: id, name, market, sinceMs, endedAtMs, billedMs, costPico: costOf(tariff, sinceMs + billedMs) }
    })
  }
}

/** What is added to fill a step or the minimum costs what the machine cost last. */
const costOf = (tariff: Machine["tariff"], untilMs: number): bigint => {
  const picoMs = tariff.reduce((sum, { fromMs, picoPerHour }, at) => {
    const endMs = Math.min(untilMs, tariff[at + 1]?.fromMs ?? untilMs)
    return sum + picoPerHour * BigInt(Math.round(Math.max(0, endMs - fromMs)))
  }, 0n)
  return (picoMs + 3_599_999n) / 3_600_000n
}
