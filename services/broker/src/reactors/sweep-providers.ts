import { Effect } from "effect"
import { sweep } from "../domain/sweep.ts"
import type { Providers } from "../providers/all.ts"
import type { Broken, Order } from "./order.ts"

/**
 * Once a minute, lists what our cell owns at each provider and compares: orphans are told and ended by the next
 * sweep, machines that are gone are told as ended. Running it twice sees the same and adds a sweep.
 */
export const sweepProviders = ({ cell, everyMs, order, providers }: {
  readonly order: Order
  readonly providers: Providers["Service"]
  readonly cell: string
  readonly everyMs: number
}): Effect.Effect<never, Broken> => {
  const one = Effect.forEach([...providers.values()], (provider) => Effect.gen(function*() {
    const tended = yield* Effect.result(provider.tend?.(cell) ?? Effect.void)
    if (tended._tag === "Failure") yield* Effect.logWarning(tended.failure.message)
    const told = yield* Effect.result(provider.list)
    if (told._tag === "Failure") return yield* Effect.logWarning(told.failure.message)
    if (told.success._tag === "Refusal") return yield* Effect.logWarning(`${provider.name} does not list its machines: ${told.success.detail}`)
    const listed = told.success.value
    yield* order.observe((state, atMs) =>
      sweep(state, { provider: provider.name, cell, listed, atMs, billing: provider.can, visibleWithinMs: provider.can.visibleWithinMs })
        .map(({ event, lease }) => ({
          subject: { kind: "machine", scope: provider.name, story: lease },
          event,
          ...partOf(state.leases.get(lease)?.partOf)
        })))
  }), { concurrency: 4, discard: true })
  return Effect.forever(Effect.andThen(one, Effect.sleep(everyMs)))
}

const partOf = <T>(first: T | undefined): { readonly partOf?: T } => (first === undefined ? {} : { partOf: first })
