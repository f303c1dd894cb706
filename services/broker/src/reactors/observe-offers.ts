import { Blobs } from "@millrace/blobs"
import { Offer, type ProviderName } from "@millrace/schemas"
import { Clock, Effect, Schema } from "effect"
import { stageOf } from "../domain/lease.ts"
import type { State } from "../domain/state.ts"
import type { Provider } from "../providers/provider.ts"
import { inParts } from "./in-parts.ts"
import type { Broken, Order } from "./order.ts"

/** Offers up to so many bytes lie in the fact itself. */
const inlineBytesMax = 16 * 1024
/** Offers that have not changed are told again after so long, so that a reader can tell old from still so. */
const sayAgainMs = 600_000

/** Single offers on a market are old within seconds: it is looked at so often while something is sought, and so seldom while nothing is. */
const seekingMs = 15_000
const restingMs = 300_000

/** A look that came to nothing is tried again after so long. */
const soonMs = 10_000

const encode = Schema.encodeSync(Schema.fromJsonString(Schema.Array(Offer)))

/** Whether single offers would be bought now: something waits, or is asked for there. */
const seeks = ({ demand, leases }: State, { name }: Provider): boolean =>
  demand?.fact.classes.some(({ waiting }) => waiting > 0) === true || [...leases.values()].some((lease) => lease.provider === name && stageOf(lease) === "asked")

/**
 * Reads what a provider offers, and says so when it has changed; of a market after each look, because what was
 * offered a while ago is no offer. The whole list lies in the blob store; what is too much for one fact is said in parts.
 */
export const observeOffers = ({ everyMs, order, provider }: { readonly order: Order; readonly provider: Provider; readonly everyMs: number }): Effect.Effect<never, Broken, Blobs> =>
  Effect.gen(function*() {
    const blobs = yield* Blobs
    const soon = Math.min(everyMs, soonMs)
    const market = provider.can.manner === "market"
    let saidText = ""
    let saidAtMs = 0
    const once = Effect.gen(function*() {
      const told = yield* Effect.result(provider.offers)
      const nowMs = yield* Clock.currentTimeMillis
      if (told._tag === "Failure") return yield* Effect.as(Effect.logWarning(told.failure.message), soon)
      if (told.success._tag === "Refusal") {
        const { detail, reason, untilMs } = told.success
        yield* refusedOffers(order, provider.name, reason, detail, untilMs)
        // A turn that comes in time is waited for.
        return reason === "rate_limited" && untilMs !== undefined ? Math.min(everyMs, Math.max(100, untilMs - nowMs)) : everyMs
      }
      const { quotas, source } = told.success.value
      const rows = told.success.value.rows.map((row) => withCapabilities(row, provider.can))
      const sorted = [...rows].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      const list = encode(sorted)
      const text = quotas === undefined ? list : `${list}${JSON.stringify(quotas)}`
      const kept = yield* Effect.result(blobs.putBytes(Buffer.from(list)))
      if (kept._tag === "Failure") return yield* Effect.as(Effect.logWarning(`The offers of ${provider.name} could not be kept: ${kept.failure._tag}`), soon)
      // What is too large for the fact is cut to what can be had now; the blob holds all of it.
      const { before, last } = inParts(list.length <= inlineBytesMax ? sorted : sorted.filter(({ regions }) => regions.length > 0))
      const subject = { kind: "market", scope: provider.name } as const
      yield* order.observe((_, atMs) => {
        if (!market && text === saidText && atMs - saidAtMs < sayAgainMs) return []
        saidText = text
        saidAtMs = atMs
        return [...before.map((part) => ({ subject, event: { _tag: "OffersListed" as const, provider: provider.name, offers: kept.success, rows: part } })), {
          subject,
          event: {
            _tag: "OffersObserved", provider: provider.name, observedAtMs: atMs, offers: kept.success, count: rows.length, source, rows: last,
            ...(provider.can.requestsEvery.createMs > 0 ? { asksEveryMs: provider.can.requestsEvery.createMs } : {}),
            ...(quotas === undefined ? {} : { quotas })
          }
        }]
      })
      return everyMs
    })
    const sought = Effect.gen(function*() {
      for (let seen = -1; !seeks(order.state(), provider);) seen = yield* order.changed(seen)
    })
    const pause = (ms: number): Effect.Effect<void> =>
      !market ? Effect.sleep(ms)
        : seeks(order.state(), provider) ? Effect.sleep(Math.min(ms, seekingMs))
        : Effect.raceFirst(Effect.sleep(ms === everyMs ? Math.max(everyMs, restingMs) : ms), sought)
    return yield* Effect.forever(Effect.flatMap(once, pause))
  })

const keyOf = ({ machineType, market, offer = "", regions, zone = "" }: Offer): string => [machineType, market, zone, offer, ...regions].join("/")

/** What holds for all that a provider sells is said of each row: a decision reads facts, not adapters. */
const withCapabilities = (row: Offer, { fabric, sells }: Provider["can"]): Offer => ({
  ...row,
  ...(row.sells === undefined && sells === "containers" ? { sells } : {}),
  ...(row.fabric === undefined && fabric ? { fabric } : {})
})

/** A provider that does not know our key is asked nothing for a while. */
const refusedOffers = (order: Order, provider: ProviderName, reason: string, detail: string, untilMs: number | undefined) =>
  reason !== "unauthorised"
    ? Effect.logWarning(`${provider} does not say what it offers: ${detail}`)
    : order.observe((state) => state.suspended.has(provider) ? [] : [{
      subject: { kind: "market", scope: provider },
      event: { _tag: "ProviderSuspended", provider, reason: "unauthorised", detail, ...(untilMs === undefined ? {} : { untilMs }) }
    }])
