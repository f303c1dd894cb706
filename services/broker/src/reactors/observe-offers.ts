import { Blobs } from "@millrace/blobs"
import { Offer, type ProviderName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import type { Provider } from "../providers/provider.ts"
import type { Broken, Order } from "./order.ts"

/** Offers up to so many bytes lie in the fact itself. */
const inlineBytesMax = 16 * 1024
/** Offers that have not changed are told again after so long, so that a reader can tell old from still so. */
const sayAgainMs = 600_000

const encode = Schema.encodeSync(Schema.fromJsonString(Schema.Array(Offer)))

/** Reads what a provider offers, and says so when it has changed. The whole list lies in the blob store. */
export const observeOffers = ({ everyMs, order, provider }: { readonly order: Order; readonly provider: Provider; readonly everyMs: number }): Effect.Effect<never, Broken, Blobs> =>
  Effect.gen(function*() {
    const blobs = yield* Blobs
    let saidText = ""
    let saidAtMs = 0
    const once = Effect.gen(function*() {
      const told = yield* Effect.result(provider.offers)
      if (told._tag === "Failure") return yield* Effect.logWarning(told.failure.message)
      if (told.success._tag === "Refusal") return yield* refusedOffers(order, provider.name, told.success.reason, told.success.detail, told.success.untilMs)
      const { rows, source } = told.success.value
      const sorted = [...rows].sort((a, b) => (a.machineType < b.machineType ? -1 : 1))
      const text = encode(sorted)
      const kept = yield* Effect.result(blobs.putBytes(Buffer.from(text)))
      if (kept._tag === "Failure") return yield* Effect.logWarning(`The offers of ${provider.name} could not be kept: ${kept.failure._tag}`)
      // What is too large for the fact is cut to what can be had now; the blob holds all of it.
      const inline = text.length <= inlineBytesMax ? sorted : sorted.filter(({ regions }) => regions.length > 0)
      yield* order.observe((_, atMs) => {
        if (text === saidText && atMs - saidAtMs < sayAgainMs) return []
        saidText = text
        saidAtMs = atMs
        return [{
          subject: { kind: "market", scope: provider.name },
          event: { _tag: "OffersObserved", provider: provider.name, observedAtMs: atMs, offers: kept.success, count: rows.length, source, rows: inline }
        }]
      })
    })
    return yield* Effect.forever(Effect.andThen(once, Effect.sleep(everyMs)))
  })

/** A provider that does not know our key is asked nothing for a while. */
const refusedOffers = (order: Order, provider: ProviderName, reason: string, detail: string, untilMs: number | undefined) =>
  reason !== "unauthorised"
    ? Effect.logWarning(`${provider} does not say what it offers: ${detail}`)
    : order.observe((state) => state.suspended.has(provider) ? [] : [{
      subject: { kind: "market", scope: provider },
      event: { _tag: "ProviderSuspended", provider, reason: "unauthorised", detail, ...(untilMs === undefined ? {} : { untilMs }) }
    }])
