import type { LeaseId, ProviderName } from "@millrace/schemas"
import { Clock, Effect } from "effect"
import { expiring, looksMsMin, lostAt, nextLookMs, sweep } from "../domain/sweep.ts"
import type { Providers } from "../providers/all.ts"
import type { Provider } from "../providers/provider.ts"
import type { Broken, Order } from "./order.ts"

/** A provider that has not listed our machines so often, one after the other, is out of order. */
const blindMax = 3
/** A look that came to nothing is tried again after so long. */
const soonMs = 10_000
/** How long it rests then; the looks go on. */
const outageMs = 120_000

/**
 * Once a minute, lists what our cell owns at each provider and compares: orphans are told and ended by the next
 * sweep, machines that are gone are told as ended, those that will be taken back are told with their deadline, and
 * dead-man times are pushed forward. A provider is looked at at once where a host of ours was lost: its machine may have been
 * taken back. Running it twice sees the same and adds a sweep.
 */
export const sweepProviders = ({ cell, everyMs, order, providers }: {
  readonly order: Order
  readonly providers: Providers["Service"]
  readonly cell: string
  readonly everyMs: number
}): Effect.Effect<never, Broken> => {
  const sweeping = (provider: Provider): Effect.Effect<never, Broken> => {
    const soon = Math.min(everyMs, soonMs)
    let blind = 0
    let lost: ReadonlySet<LeaseId> = new Set()
    const once = Effect.gen(function*() {
      const tended = yield* Effect.result(provider.tend?.(cell) ?? Effect.void)
      if (tended._tag === "Failure") yield* Effect.logWarning(tended.failure.message)
      lost = lostAt(order.state(), provider.name)
      const told = yield* Effect.result(provider.list)
      if (told._tag === "Failure") {
        yield* Effect.logWarning(told.failure.message)
        blind += 1
        if (blind >= blindMax) yield* suspended(order, provider.name, told.failure.message)
        return soon
      }
      if (told.success._tag === "Refusal") return yield* Effect.as(Effect.logWarning(`${provider.name} does not list its machines: ${told.success.detail}`), soon)
      blind = 0
      const listed = told.success.value
      yield* order.observe((state, atMs) =>
        sweep(state, { provider: provider.name, cell, listed, atMs, billing: provider.can, visibleWithinMs: provider.can.visibleWithinMs })
          .map(({ event, lease }) => ({
            subject: { kind: "machine", scope: provider.name, story: lease },
            event,
            ...partOf(state.leases.get(lease)?.partOf)
          })))
      const nowMs = yield* Clock.currentTimeMillis
      const { deadManMs } = provider.can
      for (const machine of deadManMs === undefined || provider.extend === undefined ? [] : expiring(order.state(), provider.name, listed, deadManMs, nowMs)) {
        const extended = yield* Effect.result(provider.extend!(machine, nowMs + deadManMs!))
        if (extended._tag === "Failure") yield* Effect.logWarning(extended.failure.message)
        else if (extended.success._tag === "Refusal") yield* Effect.logWarning(`${provider.name} does not let ${machine} live on: ${extended.success.detail}`)
      }
      return nextLookMs(order.state(), provider.name, provider.can.noticeMs, everyMs)
    })
    const lostSince = Effect.gen(function*() {
      for (let seen = -1; [...lostAt(order.state(), provider.name)].every((id) => lost.has(id));) seen = yield* order.changed(seen)
    })
    const pause = (ms: number) => Effect.raceFirst(Effect.sleep(ms), Effect.andThen(Effect.sleep(Math.min(ms, looksMsMin)), lostSince))
    return Effect.forever(Effect.flatMap(once, pause))
  }
  return Effect.andThen(Effect.all([...providers.values()].map(sweeping), { concurrency: "unbounded", discard: true }), Effect.never)
}

/** What waits is sought elsewhere, and nothing is asked there, until it is over. */
export const suspended = (order: Order, provider: ProviderName, detail: string): Effect.Effect<void, Broken> =>
  order.observe((state, atMs) => state.suspended.has(provider) ? [] : [{
    subject: { kind: "market", scope: provider },
    event: { _tag: "ProviderSuspended", provider, reason: "outage", detail: detail.slice(0, 400), untilMs: atMs + outageMs }
  }])

const partOf = <T>(first: T | undefined): { readonly partOf?: T } => (first === undefined ? {} : { partOf: first })
