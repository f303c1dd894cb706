import { namedId } from "@millrace/decider"
import type { LeaseId, Market, MillFact, ProviderName } from "@millrace/schemas"
import { hostOf } from "./hosts.ts"
import { billingOf, type Lease, machineOf, priceOf, sinceMsOf, stageOf } from "./lease.ts"
import { type Billing, costPico } from "./money.ts"
import type { State } from "./state.ts"

/** A machine as its provider lists it. */
export interface Listed {
  /** The provider's own id of it. */
  readonly machine: string
  /** The name or token that it was asked for under. */
  readonly token?: string
  readonly cell?: string
  readonly region: string
  readonly machineType: string
  /**
   * Whether it costs money still, and if not, how it ended. `declared`: it may come of a wish that its provider
   * keeps; as long as it is that, a create under its token has not been answered.
   */
  readonly stands: "declared" | "coming" | "running" | "ending" | "terminated" | "reclaimed"
  readonly pricePicoPerSecond: bigint
  /** From when it costs money, where the provider or our own tag says so. */
  readonly sinceMs?: number
  readonly zone?: string
  readonly market?: Market
  /** When its provider will take it back, where that has been said. */
  readonly reclaimAtMs?: number
  /** When it ends by itself unless that is pushed forward. */
  readonly deadManAtMs?: number
}

/** Machines by their provider's number; where it has given one twice, the one that is there still. */
export const byMachineIn = (listed: ReadonlyArray<Listed>): ReadonlyMap<string, Listed> => {
  const byMachine = new Map<string, Listed>()
  for (const one of listed) if (!isGone(one) || !byMachine.has(one.machine)) byMachine.set(one.machine, one)
  return byMachine
}

const isGone = ({ stands }: Listed): boolean => stands === "terminated" || stands === "reclaimed"

/** What one look at a provider says of one lease. */
export interface Seen {
  readonly lease: LeaseId
  readonly event: MillFact
}

/** A machine that an eventually consistent list has missed so often, in a row, is not there, unless its host is. */
export const missesMax = 2

/**
 * Compares what a provider lists with what we hold there: machines with our cell's tag that nobody accounts for,
 * leases whose machine is not listed, and machines whose end the list confirms. Machines of another cell, or of
 * none, are none of ours. `visibleWithinMs`: how long a new machine may be missing from the list.
 */
export const sweep = (
  state: State,
  { atMs, billing, cell, listed, provider, visibleWithinMs }: {
    readonly provider: ProviderName
    readonly cell: string
    readonly listed: ReadonlyArray<Listed>
    readonly atMs: number
    readonly billing: Billing
    readonly visibleWithinMs: number
  }
): ReadonlyArray<Seen> => {
  const own = [...state.leases.values()].filter((lease) => lease.provider === provider)
  const ours = listed.filter((one) => one.cell === cell)
  // A machine that a lease names is ours whatever its tag says now: a cell that was renamed must not take it for gone.
  return [...strangers(own, ours, { atMs, billing, provider, cell }), ...missing(state, own, listed, atMs, visibleWithinMs), ...reclaims(state, own, listed)]
}

/** Machines of ours that their provider means to take back, told once, and again only when it will be sooner. */
const reclaims = (state: State, own: ReadonlyArray<Lease>, listed: ReadonlyArray<Listed>): ReadonlyArray<Seen> => {
  const byMachine = byMachineIn(listed)
  return own.flatMap((lease): ReadonlyArray<Seen> => {
    const machine = machineOf(lease)
    const deadlineAtMs = stageOf(lease) === "held" ? byMachine.get(machine ?? "")?.reclaimAtMs : undefined
    if (machine === undefined || deadlineAtMs === undefined || (lease.reclaim !== undefined && deadlineAtMs >= lease.reclaim.deadlineAtMs)) return []
    return [{ lease: lease.id, event: noticed(state, lease, machine, deadlineAtMs) }]
  })
}

/** Machines of ours that would end by themselves before half of their dead-man time is over. */
export const expiring = (state: State, provider: ProviderName, listed: ReadonlyArray<Listed>, deadManMs: number, atMs: number): ReadonlyArray<string> => {
  const held = new Set([...state.leases.values()].filter((lease) => lease.provider === provider && stageOf(lease) === "held").map(machineOf))
  return listed.flatMap(({ deadManAtMs, machine }) => (held.has(machine) && deadManAtMs !== undefined && deadManAtMs - atMs < deadManMs / 2 ? [machine] : []))
}

/**
 * How long until the next look at a provider, in ms: the usual time, but several within the notice that it gives
 * where machines of ours may be taken back, and sooner while something is there that nobody accounts for.
 */
export const nextLookMs = (state: State, provider: ProviderName, noticeMs: number | undefined, everyMs: number): number => {
  const own = [...state.leases.values()].filter((lease) => lease.provider === provider)
  const spot = noticeMs !== undefined && own.some((lease) => stageOf(lease) === "held" && lease.requested?.fact.column.market === "spot")
  const unclear = own.some((lease) => stageOf(lease) === "orphan" || lease.missed > 0)
  return Math.min(everyMs, spot ? Math.max(looksMsMin, Math.trunc(noticeMs / 4)) : everyMs, unclear ? Math.max(looksMsMin, Math.trunc(everyMs / 2)) : everyMs)
}

/** No provider is looked at more often than this for a notice, or for a host that is lost. */
export const looksMsMin = 5_000

/** Machines of a provider that are held, and whose hosts are lost: it may have taken them back. */
export const lostAt = (state: State, provider: ProviderName): ReadonlySet<LeaseId> =>
  new Set([...state.leases.values()].flatMap((lease) => (lease.provider === provider && stageOf(lease) === "held" && hostOf(state, lease)?.goneSinceMs !== undefined ? [lease.id] : [])))

/** How many leases are open at providers that are not among these: nobody looks after their machines. */
export const unattended = (state: State, providers: ReadonlySet<ProviderName>): ReadonlyArray<readonly [ProviderName, number]> => {
  const open = new Map<ProviderName, number>()
  for (const { provider } of state.leases.values()) if (!providers.has(provider)) open.set(provider, (open.get(provider) ?? 0) + 1)
  return [...open].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** An orphan's lease is named after its machine, so that every sweep means the same one. */
export const orphanLease = (provider: ProviderName, machine: string): LeaseId => namedId<LeaseId>("lse", "orphan", provider, machine)

const strangers = (
  own: ReadonlyArray<Lease>,
  listed: ReadonlyArray<Listed>,
  { atMs, billing, cell, provider }: { readonly atMs: number; readonly billing: Billing; readonly provider: ProviderName; readonly cell: string }
): ReadonlyArray<Seen> => {
  const held = new Map(own.flatMap((lease) => (lease.granted === undefined ? [] : [[lease.granted.fact.machine, lease]])))
  const awaited = new Set(own.flatMap((lease) => (["asked", "withdrawn"].includes(stageOf(lease)) ? [lease.requested?.fact.token] : [])))
  const known = new Map(own.map((lease) => [lease.id, lease]))
  return listed.flatMap((one): ReadonlyArray<Seen> => {
    if (held.has(one.machine) || awaited.has(one.token) || !["declared", "coming", "running"].includes(one.stands)) return []
    const lease = orphanLease(provider, one.machine)
    const before = known.get(lease)
    if (before?.released !== undefined) return []
    const sinceMs = one.sinceMs ?? before?.found?.fact.runningSinceMs ?? atMs
    return [{
      lease,
      event: {
        _tag: "OrphanFound",
        leaseId: lease,
        provider,
        machine: one.machine,
        cell,
        runningSinceMs: sinceMs,
        costSoFarPico: one.stands === "declared" ? 0n : costPico(one.pricePicoPerSecond, billing, sinceMs, atMs),
        // What a list does not know the price of is not free; and of what is declared a machine may still come.
        ...(one.pricePicoPerSecond <= 0n ? {} : { pricePicoPerSecond: one.pricePicoPerSecond, billedStepMs: billing.billedStepMs, billedMsMin: billing.billedMsMin }),
        sweeps: (before?.found?.fact.sweeps ?? 0) + 1
      }
    }]
  })
}

const missing = (state: State, own: ReadonlyArray<Lease>, listed: ReadonlyArray<Listed>, atMs: number, visibleWithinMs: number): ReadonlyArray<Seen> => {
  const byMachine = byMachineIn(listed)
  return own.flatMap((lease): ReadonlyArray<Seen> => {
    const machine = machineOf(lease)
    if (machine === undefined) return []
    const found = byMachine.get(machine)
    if (found?.stands === "terminated") return [{ lease: lease.id, event: ended(lease, "terminated", atMs) }]
    if (found?.stands === "reclaimed") return [...takenBack(state, lease, machine, atMs), { lease: lease.id, event: ended(lease, "reclaimed", atMs) }]
    if (found !== undefined) return lease.missed === 0 ? [] : [{ lease: lease.id, event: ghost(lease, machine, atMs, 0) }]
    if (atMs - (lease.granted?.atMs ?? lease.found?.atMs ?? 0) < visibleWithinMs) return []
    if (lease.missed + 1 < missesMax) return [{ lease: lease.id, event: ghost(lease, machine, atMs, lease.missed + 1) }]
    if (!isHeardOf(state, lease)) return [{ lease: lease.id, event: ended(lease, "not_there", atMs) }]
    return lease.missed >= missesMax ? [] : [{ lease: lease.id, event: ghost(lease, machine, atMs, missesMax) }]
  })
}

/**
 * Whether a machine that is held is still heard of: by its host, which is a better witness than a list that misses it. Who
 * took such a machine for ended would forget one that costs on, as where its tag was taken off by hand.
 */
const isHeardOf = (state: State, lease: Lease): boolean => {
  const host = hostOf(state, lease)
  return stageOf(lease) === "held" && host?.joined !== undefined && !host.left && host.goneSinceMs === undefined
}

/** A machine that was held and was taken back before anybody noticed: the notice is told late, so that what ran there is known to have lost it to its provider. */
const takenBack = (state: State, lease: Lease, machine: string, atMs: number): ReadonlyArray<Seen> =>
  stageOf(lease) === "held" && lease.reclaim === undefined ? [{ lease: lease.id, event: noticed(state, lease, machine, atMs) }] : []

const noticed = (state: State, lease: Lease, machine: string, deadlineAtMs: number): MillFact => {
  const hostId = hostOf(state, lease)?.id
  return { _tag: "ReclaimNoticed", leaseId: lease.id, provider: lease.provider, ...(hostId === undefined ? {} : { hostId }), deadlineAtMs, machine }
}

const ghost = (lease: Lease, machine: string, atMs: number, sweeps: number): MillFact => ({
  _tag: "GhostFound",
  leaseId: lease.id,
  provider: lease.provider,
  machine,
  lastSeenAtMs: sweeps === 0 ? atMs : lease.granted?.atMs ?? lease.found?.atMs ?? atMs,
  sweeps,
  costSoFarPico: costPico(priceOf(lease), billingOf(lease), sinceMsOf(lease), atMs)
})

/** The provider's last word: from here on the machine costs nothing. */
export const ended = (lease: Lease, confirmed: "terminated" | "reclaimed" | "not_there", atMs: number): MillFact => ({
  _tag: "LeaseEnded",
  leaseId: lease.id,
  provider: lease.provider,
  confirmed,
  endedAtMs: atMs,
  // What never was has cost nothing.
  costPico: machineOf(lease) === undefined ? 0n : costPico(priceOf(lease), billingOf(lease), sinceMsOf(lease), atMs)
})
