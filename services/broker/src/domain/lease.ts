import type { FactId, HostId, LeaseGranted, LeaseId, LeaseReleased, LeaseRequested, OrphanFound, ProviderName } from "@millrace/schemas"
import { type Billing, billedMs, perHour } from "./money.ts"

/** One machine lease, as far as its story has come. It is forgotten once it is over. */
export interface Lease {
  readonly id: LeaseId
  readonly provider: ProviderName
  /** The first fact of its story. */
  readonly factId: FactId
  readonly partOf: FactId
  /** What we asked for. An orphan was never asked for here. */
  requested?: { readonly fact: LeaseRequested; readonly atMs: number; readonly demand?: FactId }
  /** The provider was called for it, by the broker of that term, last. */
  called?: { readonly term: number; readonly untilMs: number }
  found?: { readonly fact: OrphanFound; readonly factId: FactId; readonly atMs: number }
  granted?: { readonly fact: LeaseGranted; readonly factId: FactId; readonly atMs: number }
  withdrawn?: { readonly factId: FactId; readonly atMs: number }
  released?: { readonly cause: LeaseReleased["cause"]; readonly factId: FactId; readonly atMs: number }
  hostId?: HostId
  /** Its provider will take it back then. */
  reclaim?: { readonly deadlineAtMs: number; readonly factId: FactId }
  /** Nothing more begins on its machine: that lease's takes its place. */
  retiring?: { readonly by: LeaseId; readonly factId: FactId }
  /** How many sweeps in a row have missed its machine. */
  missed: number
}

/** Where a lease stands: asked for, given up before an answer, held, given back, or a stranger of our own making. */
export type Stage = "asked" | "withdrawn" | "held" | "released" | "orphan"

export const stageOf = ({ found, granted, released, withdrawn }: Lease): Stage =>
  released !== undefined ? "released" : granted !== undefined ? "held" : found !== undefined ? "orphan" : withdrawn !== undefined ? "withdrawn" : "asked"

/** The provider's own id of the machine, where one is known to be. */
export const machineOf = ({ found, granted }: Lease): string | undefined => granted?.fact.machine ?? found?.fact.machine

/** By what a provider counts where it has said nothing: the strictest that we know. */
export const usualBilling: Billing = { billedStepMs: 60_000, billedMsMin: 60_000 }

export const billingOf = ({ found, granted }: Lease): Billing =>
  granted?.fact ?? { billedStepMs: found?.fact.billedStepMs ?? usualBilling.billedStepMs, billedMsMin: found?.fact.billedMsMin ?? usualBilling.billedMsMin }

/** From when it costs money. */
export const sinceMsOf = ({ found, granted, requested }: Lease): number =>
  granted !== undefined ? granted.fact.billedSinceMs ?? granted.atMs : found?.fact.runningSinceMs ?? requested?.atMs ?? 0

/** What it costs a second, or may cost while nobody has answered. */
export const priceOf = (lease: Lease): bigint => {
  if (lease.granted !== undefined) return lease.granted.fact.pricePicoPerSecond
  if (lease.found === undefined) return lease.requested?.fact.pricePicoPerSecondMax ?? 0n
  if (lease.found.fact.pricePicoPerSecond !== undefined) return lease.found.fact.pricePicoPerSecond
  const ms = billedMs(usualBilling, lease.found.fact.runningSinceMs, lease.found.atMs)
  return ms === 0 ? 0n : (lease.found.fact.costSoFarPico * 1000n) / BigInt(ms)
}

export const pricePerHourOf = (lease: Lease): bigint => perHour(priceOf(lease))

/** What it adds an hour to what is spent: nothing where it is reserved, which is paid for without it. */
export const addedPerHourOf = (lease: Lease): bigint => (lease.requested?.fact.column.market === "reserved" ? 0n : pricePerHourOf(lease))
