import type { Fence } from "@millrace/schemas"
import { isOlder } from "./attempt.ts"

/** What the scheduler answers to a beat. */
export interface Answer {
  readonly term: number
  readonly leaseMs: number
  readonly lost: boolean
  readonly voidBelow?: Fence
}

/** How long the host may go on without hearing from the scheduler, on the host's monotonic clock. */
export interface Lease {
  readonly term: number
  /** When the newest beat that was answered was sent. */
  readonly sentAtMs: number
  readonly leaseMs: number
  /** Every placement with a lower fence is void. */
  readonly voidBelow: Fence | undefined
}

/** The lease after an answer. Nothing: a scheduler that was replaced has answered, and what it says is past. */
export const renewed = (lease: Lease | undefined, sentAtMs: number, { leaseMs, term, voidBelow }: Answer): Lease | undefined => {
  if (lease !== undefined && term < lease.term) return undefined
  return { term, sentAtMs: Math.max(sentAtMs, lease?.sentAtMs ?? sentAtMs), leaseMs, voidBelow: later(lease?.voidBelow, voidBelow) }
}

const later = (left: Fence | undefined, right: Fence | undefined): Fence | undefined =>
  left === undefined || (right !== undefined && isOlder(left, right)) ? right : left

export const isLive = (lease: Lease | undefined, nowMs: number): boolean =>
  lease !== undefined && nowMs < lease.sentAtMs + lease.leaseMs

/** When work ends unless another answer comes: the job says how long it may go on in silence, and no job less than the lease. */
export const deadlineOf = ({ leaseMs, sentAtMs }: Lease, keepMs: number): number => sentAtMs + Math.max(leaseMs, keepMs)

export const isVoid = (lease: Lease | undefined, fence: Fence): boolean =>
  lease?.voidBelow !== undefined && isOlder(fence, lease.voidBelow)

/** How long until the next beat: a lease outlives four lost ones. */
export const beatEveryMs = (lease: Lease | undefined): number => lease === undefined ? 500 : Math.max(20, Math.floor(lease.leaseMs / 5))
