import type { StoredCommit, StreamDecider } from "@millrace/journal"
import type { HostId, MillFact, Principal } from "@millrace/schemas"
import { decide, digestToCome, dueAfterMs } from "./decide.ts"
import { emptyState, evolve, type Host, type State } from "./state.ts"

type Saved = { readonly [K in keyof State]: unknown }

const byKey = <V>(entries: Iterable<readonly [string, V]>): ReadonlyArray<readonly [string, V]> =>
  [...entries].sort(([left], [right]) => (left < right ? -1 : 1))

/** The log lets a host write on its own subjects alone; a fact there about another host is nobody's word. */
const speaksForItself = ({ subject: { kind, scope } }: StoredCommit, event: MillFact): boolean =>
  (kind !== "host" && kind !== "attempt") || ("hostId" in event && event.hostId === scope)

/**
 * The broker as it is run and replayed. What providers answer lies in its stream as commits without a decision:
 * they are seen, not decided, so a replay takes them as they are and makes everything else again.
 */
export const broker: StreamDecider<State> = {
  name: "broker",
  codeVersion: "6",
  actor: "service:broker" as Principal,
  writes: "BROKER",
  hears: ["SCHEDULER", "ACCESS", "HOSTS"],
  initial: emptyState,
  evolve: (state, fact) => (speaksForItself(fact.commit, fact.event) ? evolve(state, fact) : state),
  freeze: (state, { subject }) => {
    state.frozen.add(`${subject.kind}.${subject.scope}`)
    return state
  },
  decide,
  dueAtMs: (state) => dueAfterMs(state, 0),
  save: (state): Saved => ({
    term: state.term,
    bounds: state.bounds ?? null,
    demand: state.demand ?? null,
    fruitless: state.fruitless ?? null,
    leases: byKey(state.leases),
    hosts: byKey(state.hosts).map(([, host]) => ({ ...host, running: [...host.running].sort(), endedEarly: [...host.endedEarly].sort() })),
    byDigest: byKey(state.byDigest),
    over: byKey(state.over),
    markets: byKey(state.markets),
    suspended: byKey(state.suspended),
    unauthorised: byKey(state.unauthorised),
    blocked: byKey(state.blocked),
    refusals: byKey(state.refusals),
    shares: byKey(state.shares),
    quotas: byKey(state.quotas),
    chances: byKey(state.chances),
    growths: byKey(state.growths),
    listing: byKey(state.listing),
    preparing: state.preparing ?? null,
    plan: state.plan === undefined ? null : { ...state.plan, demand: state.plan.demand ?? null, wanted: byKey(state.plan.wanted) },
    lastRequestedAtMs: state.lastRequestedAtMs,
    frozen: [...state.frozen].sort()
  }),
  load: (saved: never) => {
    const plain = saved as any
    const state = emptyState()
    state.term = plain.term
    state.bounds = plain.bounds ?? undefined
    state.demand = plain.demand ?? undefined
    state.fruitless = plain.fruitless ?? undefined
    for (const [id, lease] of plain.leases) state.leases.set(id, { ...lease })
    for (const host of plain.hosts) {
      state.hosts.set(host.id as HostId, { ...host, running: new Set(host.running), endedEarly: new Set(host.endedEarly) } as Host)
    }
    state.preparing = plain.preparing ?? undefined
    state.plan = plain.plan === null ? undefined : { ...plain.plan, demand: plain.plan.demand ?? undefined, wanted: new Map(plain.plan.wanted) }
    state.lastRequestedAtMs = plain.lastRequestedAtMs
    for (const name of ["byDigest", "over", "markets", "suspended", "unauthorised", "blocked", "refusals", "shares", "quotas", "chances", "growths", "listing"] as const) {
      for (const [key, value] of plain[name] ?? []) (state[name] as Map<unknown, unknown>).set(key, value)
    }
    for (const scope of plain.frozen) state.frozen.add(scope)
    return state
  }
}

/** What a replay compares: everything but the digest of the one-time key, whose secret is not in the log. */
export const comparable = (event: unknown): unknown =>
  (event as MillFact)._tag === "LeaseRequested" ? { ...(event as object), oneTimeKeyDigest: digestToCome } : event
