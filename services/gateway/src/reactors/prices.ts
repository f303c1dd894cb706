import { Journal, readable, type StoredCommit } from "@millrace/journal"
import { noBooks, type PriceBooks, publish, type Rates, ratesAt } from "@millrace/pricing"
import { filterOf, pricebook, type WorkspaceName } from "@millrace/schemas"
import { supervise } from "@millrace/service"
import { Context, Effect, Layer } from "effect"

/** What things cost, as far as metering has published it: for what is refused at the door. What is promised is the scheduler's. */
export class Prices extends Context.Service<Prices, {
  /** Undefined before the first book. */
  readonly ratesAt: (workspace: WorkspaceName, atMs: number) => Rates | undefined
}>()("millrace/gateway/Prices") {
  static readonly layer: Layer.Layer<Prices, never, Journal> = Layer.effect(Prices, Effect.gen(function*() {
    const journal = yield* Journal
    const known: { books: PriceBooks; sequence: number } = { books: noBooks, sequence: 0 }
    const hear = (commits: ReadonlyArray<StoredCommit>) => {
      for (const commit of commits) {
        for (const { event } of readable(commit, (name) => name === "PriceBookPublished").facts) if (event._tag === "PriceBookPublished") known.books = publish(known.books, event.priceBook)
        known.sequence = Math.max(known.sequence, commit.place.sequence)
      }
    }
    // The books that there are, if the log says them now; otherwise the follower does, a moment later.
    yield* Effect.ignore(Effect.map(journal.story({ kind: "pricebook", scope: "cell" }), hear).pipe(Effect.timeout(5_000)))
    const follow = Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("METERING", { after: known.sequence, filter: filterOf(pricebook) })
      return yield* Effect.forever(Effect.map(reader.take, hear))
    }))
    yield* Effect.forkScoped(supervise(follow, { name: "gateway.prices" }))
    return { ratesAt: (workspace, atMs) => ratesAt(known.books, { workspace, atMs }) }
  }))
}
