import type { BeatAnswer, HostBeat, Silence } from "@millrace/journal"
import type { HostId } from "@millrace/schemas"

/** What of a host matters to whether it is expected to beat. */
export interface ExpectedHost {
  readonly id: HostId
  readonly joined: { readonly dialect: number } | undefined
  readonly dismissed: boolean
  readonly leaving: boolean
  readonly holds: { readonly size: number }
  /** The newest judgement that it is lost, by its sequence in the scheduler's order. */
  readonly lost?: { readonly sequence: number; readonly returned: boolean } | undefined
}

/** The live view that beats are answered from. */
export interface BeatView {
  readonly term: number
  readonly hosts: ReadonlyMap<HostId, ExpectedHost>
}

/** What the listener finds out that somebody should be told. */
export type ListenerNote =
  /** So many at once: it is likelier that we do not hear. */
  | { readonly what: "blames itself"; readonly silent: number; readonly expected: number }
  | { readonly what: "hears again" }

export interface ListenerOptions {
  /** How long a host may go on without an answer, in ms. */
  readonly leaseMs: number
  readonly epoch: number
  readonly nowMs: () => number
  readonly note?: (note: ListenerNote) => void
}

/** After this many leases in which we heard others, whoever is still silent is silent for itself, however many they are. */
const blameLeasesMax = 4

/**
 * Which part of a lease we may be mute for: a host that beats every fifth of it, and waits as long for each answer
 * that does not come, is heard again before its lease is over.
 */
const mutePart = 1 / 3

/**
 * For how long a look into the log is worth: less than the margin that is waited for behind a lost lease,
 * because for as long a scheduler may answer that has been replaced without knowing.
 */
export const confirmedMsMax = 800

/**
 * Hears beats and answers them from the live view. When a host was last heard is kept here and nowhere else:
 * it is in no fact until somebody is declared lost by it. So a listener that is new waits one full lease
 * before it calls anyone silent, and one that suddenly hears more than a tenth of the hosts no more (and
 * more than one) takes itself for deaf.
 */
export class Listener {
  readonly #options: ListenerOptions
  readonly #lastHeardAtMs = new Map<HostId, number>()
  #view: BeatView | undefined
  #sinceMs = 0
  #lookAtMs = 0
  #blamedSinceMs: number | undefined
  #confirmedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: ListenerOptions) {
    this.#options = options
  }

  /** The view has changed. A new term begins to listen anew: nobody knows what was heard meanwhile. */
  watch(view: BeatView): void {
    const nowMs = this.#options.nowMs()
    if (this.#view?.term !== view.term) {
      this.#sinceMs = nowMs
      this.#lookAtMs = nowMs + this.#options.leaseMs
      this.#blamedSinceMs = undefined
      this.#lastHeardAtMs.clear()
    }
    this.#view = view
  }

  /** This scheduler decides no more, and so answers nobody. */
  stop(): void {
    this.#view = undefined
  }

  /**
   * At this moment nobody else had taken over: the log said so afterwards. Who could not know that for long
   * answered nobody meanwhile, or stood still: so nobody was silent for its own sake, and each is listened for anew.
   */
  confirm(atMs: number): void {
    if (this.#isMute(atMs)) this.#sinceMs = Math.max(this.#sinceMs, atMs)
    this.#confirmedAtMs = Math.max(this.#confirmedAtMs, atMs)
  }

  #isMute(atMs: number): boolean {
    return atMs - this.#confirmedAtMs > this.#options.leaseMs * mutePart
  }

  answer({ hostId }: HostBeat): BeatAnswer | undefined {
    if (this.#view === undefined) return undefined
    const { epoch, leaseMs, nowMs } = this.#options
    // A lease that a replaced scheduler gave would outlast what its successor waits for.
    if (nowMs() - this.#confirmedAtMs > confirmedMsMax) return undefined
    this.#lastHeardAtMs.set(hostId, nowMs())
    const lost = this.#view.hosts.get(hostId)?.lost
    return {
      term: this.#view.term,
      leaseMs,
      lost: lost !== undefined && !lost.returned,
      ...(lost === undefined ? {} : { voidBelow: { epoch, sequence: lost.sequence } })
    }
  }

  /** Who has been silent for longer than its lease, in the order of their ids; nobody, while it may be ourselves. */
  silences(atMs: number): ReadonlyArray<Silence> {
    if (this.#view === undefined || atMs < this.#lookAtMs) return []
    const { leaseMs } = this.#options
    if (this.#isMute(atMs)) {
      this.#lookAtMs = atMs + Math.max(1, Math.floor(leaseMs / 5))
      return []
    }
    const silent: Array<Silence> = []
    let expected = 0
    let nextMs = atMs + leaseMs
    for (const host of this.#view.hosts.values()) {
      if (!isExpected(host)) continue
      expected += 1
      const lastHeardAtMs = this.#lastHeard(host.id, atMs)
      const leaseEndedAtMs = lastHeardAtMs + leaseMs
      if (leaseEndedAtMs <= atMs) silent.push({ hostId: host.id, lastHeardAtMs, leaseEndedAtMs })
      else nextMs = Math.min(nextMs, leaseEndedAtMs)
    }
    // Whoever is not declared lost by this is told of again, though not at once.
    if (silent.length > 0) nextMs = Math.min(nextMs, atMs + Math.max(1, Math.floor(leaseMs / 5)))
    this.#lookAtMs = nextMs
    if (this.#isDeaf(silent.length, expected, atMs)) return []
    // One that comes back is listened for anew, whatever was last heard of it.
    for (const { hostId } of silent) this.#lastHeardAtMs.delete(hostId)
    return silent.sort((left, right) => (left.hostId < right.hostId ? -1 : 1))
  }

  /** When somebody will be silent for too long, as far as is known now. */
  dueAtMs(): number | undefined {
    return this.#view === undefined ? undefined : this.#lookAtMs
  }

  /** A host that was never heard counts from when it was first looked for. */
  #lastHeard(hostId: HostId, atMs: number): number {
    const known = this.#lastHeardAtMs.get(hostId)
    if (known !== undefined) return Math.max(known, this.#sinceMs)
    const first = atMs - this.#sinceMs <= this.#options.leaseMs ? this.#sinceMs : atMs
    this.#lastHeardAtMs.set(hostId, first)
    return first
  }

  #isDeaf(silent: number, expected: number, atMs: number): boolean {
    const { leaseMs, note } = this.#options
    if (silent <= 1 || silent * 10 <= expected) {
      if (this.#blamedSinceMs !== undefined) note?.({ what: "hears again" })
      this.#blamedSinceMs = undefined
      return false
    }
    if (this.#blamedSinceMs === undefined) {
      this.#blamedSinceMs = atMs
      note?.({ what: "blames itself", silent, expected })
    }
    return silent === expected || atMs - this.#blamedSinceMs < blameLeasesMax * leaseMs
  }
}

/** Agents of the first dialect send no beats: nothing follows from their silence. */
const isExpected = ({ dismissed, holds, joined, leaving, lost }: ExpectedHost): boolean =>
  joined !== undefined && joined.dialect > 1 && !dismissed && (!leaving || holds.size > 0) && (lost === undefined || lost.returned)
