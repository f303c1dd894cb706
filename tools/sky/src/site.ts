import { type Billing, Books, type Machine, type Stands } from "./books.ts"
import type { Power } from "./machines.ts"
import type { Ware } from "./prices.ts"
import { Sky, type Wanted, type Weather } from "./weather.ts"

export interface SiteOptions {
  /** The cloud's name. */
  readonly cloud: string
  readonly billing: Billing
  /** From the request until a machine is up, in ms. */
  readonly bootMs?: number
  /** From the request to end a machine until it is gone, in ms. */
  readonly endMs?: number
  readonly power: Pick<Power, "on" | "off">
  readonly weather?: Partial<Weather>
}

/** What a cloud's own protocol has understood of a request for one machine. */
export interface Asked {
  readonly id: string
  readonly name: string
  readonly ware: Ware
  readonly region: string
  readonly zone?: string
  readonly market: Machine["market"]
  readonly tags: Readonly<Record<string, string>>
  readonly userData: string
  readonly picoPerHour: bigint
  readonly endsWhenOff?: boolean
  /** What it costs from the request until it runs, and whenever it is stopped. */
  readonly idlePicoPerHour?: bigint
}

/** Why a machine is not ended now. */
export type EndRefused = "refused" | "minimum_term"

/**
 * What a pretend cloud stands on, whatever it speaks: its machines, their truth and their bills, and the weather as
 * it befalls machines. A cloud's room translates its vendor's words into these, and `said` back into them.
 */
export class Site {
  readonly cloud: string
  readonly books: Books
  readonly sky: Sky
  readonly #billing: Billing
  readonly #bootMs: number
  readonly #endMs: number
  readonly #power: Pick<Power, "on" | "off">

  constructor({ billing, bootMs = 0, cloud, endMs = 0, power, weather }: SiteOptions) {
    this.cloud = cloud
    this.books = new Books(billing)
    this.sky = new Sky(weather)
    this.#billing = billing
    this.#bootMs = bootMs
    this.#endMs = endMs
    this.#power = power
  }

  /** Whether one more can be had. Says nothing of quota. */
  hasCapacity(wanted: Wanted): boolean {
    return this.sky.hasCapacity(wanted, this.books.running.map(({ market, region, ware, zone }) => ({ type: ware.name, region, market, ...(zone === undefined ? {} : { zone }) })))
  }

  /** Makes a machine, as far as the weather lets it be one. */
  make({ id, picoPerHour, ...asked }: Asked, atMs: number): Machine {
    const absent = this.sky.strikes("lies")
    const fails = !absent && this.sky.strikes("lateFailures")
    const ended = this.sky.now.duplicateIds > 0 ? this.books.all.find((before) => before.stands === "terminated" && this.said(before) === "terminated")?.id : undefined
    if (ended !== undefined) this.sky.strikes("duplicateIds")
    const machine: Machine = {
      ...asked,
      id: ended ?? id,
      cloud: this.cloud,
      soldPicoPerHour: picoPerHour,
      bornAtMs: atMs,
      visibleAtMs: atMs + this.sky.now.invisibleMs,
      stands: absent ? "terminated" : "booting",
      ...(absent ? { says: "active" as const, endedAtMs: atMs, chargedUntilMs: atMs } : {}),
      bootsAtMs: atMs + this.#bootMs,
      ...(fails ? { failsAtMs: atMs + this.#bootMs } : {}),
      powered: !absent && !fails && !this.sky.strikes("neverBoots"),
      tariff: []
    }
    this.books.add(machine)
    if (!absent && machine.idlePicoPerHour !== undefined) this.books.charge(machine, machine.idlePicoPerHour, atMs)
    else if (!absent && this.#billing.from === "asked") this.books.charge(machine, picoPerHour, atMs)
    if (machine.powered) this.#on(machine)
    return machine
  }

  /** What time has brought about: machines that are up, failed, taken back or gone. */
  settle(atMs: number): void {
    for (const machine of this.books.all) {
      const { bootsAtMs, endedAtMs, failsAtMs, reclaimAtMs } = machine
      if (failsAtMs !== undefined && machine.stands === "booting" && atMs >= failsAtMs) this.#gone(machine, "no_capacity", failsAtMs)
      if (machine.stands === "booting" && atMs >= bootsAtMs) this.#up(machine)
      if (reclaimAtMs !== undefined && ["booting", "active", "stopped"].includes(machine.stands) && atMs >= reclaimAtMs) this.#gone(machine, "reclaimed", reclaimAtMs)
      if (machine.off === true && machine.stands === "active") {
        machine.off = false
        if (machine.endsWhenOff === true) this.#gone(machine, "turned_off", atMs)
        else this.stop(machine, atMs)
      }
      if (machine.stands === "terminating" && atMs >= (endedAtMs ?? 0)) machine.stands = "terminated"
    }
  }

  #up(machine: Machine): void {
    machine.stands = "active"
    if (machine.tariff.length === 0 || machine.idlePicoPerHour !== undefined) this.books.charge(machine, machine.soldPicoPerHour, machine.bootsAtMs)
  }

  #gone(machine: Machine, ended: Machine["ended"], atMs: number): void {
    machine.stands = "terminated"
    machine.endedAtMs = atMs
    machine.chargedUntilMs ??= atMs
    if (ended !== undefined) machine.ended = ended
    this.#power.off(machine)
  }

  /** Stops what runs on it. It is there still, and costs what it costs idle. */
  stop(machine: Machine, atMs: number): void {
    machine.stands = "stopped"
    this.books.charge(machine, machine.idlePicoPerHour ?? machine.soldPicoPerHour, atMs)
    if (machine.powered) this.#power.off(machine)
  }

  /** Lets it run again. */
  start(machine: Machine, atMs: number): void {
    machine.stands = "active"
    this.books.charge(machine, machine.soldPicoPerHour, atMs)
    if (machine.powered) this.#on(machine)
  }

  #on(machine: Machine): void {
    this.#power.on(machine, () => void (machine.off = true))
  }

  /** What the cloud says of it. */
  said({ says, stands }: Machine): Stands {
    return says ?? stands
  }

  /** Machines as a list would show them at that time, ended ones with them; the weather may hide or double them. */
  listed(atMs: number): ReadonlyArray<Machine> {
    const visible = this.books.all.filter(({ visibleAtMs }) => atMs >= visibleAtMs)
    return this.sky.now.listedTwice ? visible.flatMap((machine) => [machine, machine]) : visible
  }

  /** Begins to end a machine. Asked again it changes nothing. */
  end(machine: Machine, atMs: number): EndRefused | undefined {
    if (atMs < machine.bornAtMs + this.sky.now.minimumTermMs) return "minimum_term"
    if (this.sky.strikes("endsRefused")) return "refused"
    if (machine.says === "active") {
      machine.says = "terminated"
      return undefined
    }
    if (["terminating", "terminated"].includes(this.said(machine))) return undefined
    if (this.sky.strikes("zombies")) {
      machine.says = "terminated"
      return undefined
    }
    machine.stands = "terminating"
    machine.ended = "asked"
    machine.endedAtMs = atMs + this.#endMs
    machine.chargedUntilMs = this.#billing.until === "gone" ? machine.endedAtMs : atMs
    this.#power.off(machine)
    this.settle(atMs)
    return undefined
  }

  /** The cloud takes it back, after so long. */
  reclaim(machine: Machine, { atMs, noticeMs }: { readonly atMs: number; readonly noticeMs: number }): void {
    machine.reclaimAtMs = atMs + noticeMs
    this.settle(atMs)
  }
}
