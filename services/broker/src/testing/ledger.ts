import type { Broker } from "@millrace/sim"
import { readable } from "@millrace/journal"
import type { FactId, LeaseId, MillFact } from "@millrace/schemas"
import type { Paid } from "./pretend-cloud.ts"

/** What the log holds open, as somebody who only reads it. */
export class Ledger {
  readonly open = new Map<LeaseId, { readonly token?: string; machine?: string; readonly orphan: boolean; released?: boolean }>()
  readonly costs = new Map<string, bigint>()
  /** How often each fact was said. */
  readonly said = new Map<string, number>()
  /** Who took over last, by the fact that says so. */
  tookOver: FactId | undefined
  readonly #machineOf = new Map<LeaseId, string>()
  readonly #broker: Broker
  #after = 0

  constructor(broker: Broker) {
    this.#broker = broker
  }

  read(): this {
    const head = this.#broker.log.head("BROKER")
    for (; this.#after < head; this.#after += 1) {
      for (const { event, id } of readable(this.#broker.at("BROKER", this.#after + 1)).facts) this.#hear(event, id)
    }
    return this
  }

  #hear(event: MillFact, id: FactId): void {
    this.said.set(event._tag, (this.said.get(event._tag) ?? 0) + 1)
    switch (event._tag) {
      case "BrokerTookOver":
        this.tookOver = id
        return
      case "LeaseRequested":
        if (event.insteadOf !== undefined) this.said.set("second attempt", (this.said.get("second attempt") ?? 0) + 1)
        return void this.open.set(event.leaseId, { token: event.token, orphan: false })
      case "OrphanFound":
        this.#machineOf.set(event.leaseId, event.machine)
        return void this.open.set(event.leaseId, { machine: event.machine, orphan: true })
      case "LeaseGranted": {
        const lease = this.open.get(event.leaseId)
        if (lease !== undefined) lease.machine = event.machine
        return void this.#machineOf.set(event.leaseId, event.machine)
      }
      case "LeaseReleased": {
        const lease = this.open.get(event.leaseId)
        if (lease !== undefined) lease.released = true
        return
      }
      case "LeaseEnded": {
        const machine = this.#machineOf.get(event.leaseId)
        if (machine !== undefined) this.costs.set(machine, event.costPico)
        return void this.open.delete(event.leaseId)
      }
      case "LeaseRefused":
        return void this.open.delete(event.leaseId)
      default:
        return
    }
  }

  /** Whether a machine is one that we have and mean to keep. */
  holds(id: string): boolean {
    for (const { machine, orphan, released = false } of this.open.values()) if (machine === id && !orphan && !released) return true
    return false
  }

  accountsFor({ id, wish }: Paid): boolean {
    for (const { machine, token } of this.open.values()) if (machine === id || (machine === undefined && token === wish.token)) return true
    return false
  }
}
