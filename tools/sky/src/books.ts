import type { Ware } from "./prices.ts"

/** A machine as it truly is, whatever anybody was told of it. */
export interface Machine {
  readonly id: string
  readonly name: string
  readonly ware: Ware
  readonly region: string
  readonly tags: ReadonlyArray<{ readonly key: string; readonly value: string }>
  readonly sshKeys: ReadonlyArray<string>
  readonly userData: string
  readonly bornAtMs: number
  /** Lists show it from here on. */
  visibleAtMs: number
  stands: "booting" | "active" | "terminating" | "terminated"
  endedAtMs?: number
}

/** What one machine truly cost. */
export interface Bill {
  readonly machine: string
  readonly name: string
  readonly sinceMs: number
  readonly endedAtMs: number | undefined
  readonly minutes: number
  readonly microCents: bigint
}

/** What truly runs and what it truly costs: the truth that tests compare with what a broker believes. */
export class Books {
  readonly #machines = new Map<string, Machine>()

  add(machine: Machine): void {
    this.#machines.set(machine.id, machine)
  }

  get(id: string): Machine | undefined {
    return this.#machines.get(id)
  }

  get all(): ReadonlyArray<Machine> {
    return [...this.#machines.values()]
  }

  /** Machines that cost money now. */
  get running(): ReadonlyArray<Machine> {
    return this.all.filter(({ stands }) => stands !== "terminated")
  }

  end(machine: Machine, atMs: number): void {
    machine.stands = "terminated"
    machine.endedAtMs ??= atMs
  }

  /** By the minute, at least one, from the launch to the end. */
  bills(nowMs: number): ReadonlyArray<Bill> {
    return this.all.map(({ bornAtMs, endedAtMs, id, name, ware }) => {
      const minutes = Math.max(1, Math.ceil(((endedAtMs ?? nowMs) - bornAtMs) / 60_000))
      return { machine: id, name, sinceMs: bornAtMs, endedAtMs, minutes, microCents: (BigInt(minutes) * BigInt(ware.centsPerHour) * 1_000_000n) / 60n }
    })
  }
}
