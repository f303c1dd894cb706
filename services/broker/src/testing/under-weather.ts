import { type Cloud, type CloudRoom, type RunningCloud, startSky } from "@millrace/sky"
import { Effect, type Scope } from "effect"
import { FetchHttpClient, type HttpClient } from "effect/http"
import type { Provider } from "../providers/provider.ts"
import type { ProviderUnderTest } from "./promises.ts"

/** What a vendor sells, and what it answers otherwise than most. */
type Own = Pick<ProviderUnderTest, "column"> & Partial<Pick<ProviderUnderTest, "unsold" | "noneLeft" | "overQuota">> & {
  /** The token in the name that a machine was asked for under, where that says more. */
  readonly tokenIn?: (name: string) => string
}

/** A pretend cloud and the real client of its vendor, in whatever weather a promise is to be kept. */
export const underWeather = <Room extends CloudRoom>(cloud: Cloud<Room>, client: (sky: RunningCloud<Room>) => Effect.Effect<Provider, unknown, HttpClient.HttpClient | Scope.Scope>, { tokenIn = (name) => name, ...own }: Own): Effect.Effect<ProviderUnderTest, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    // What runs is of the room that was handed over; the record's own type forgets which.
    const sky = (yield* startSky({ clouds: { sky: cloud } })).sky as unknown as RunningCloud<Room>
    const test: ProviderUnderTest = {
      ...own,
      provider: yield* Effect.provide(client(sky), FetchHttpClient.layer),
      paid: () => sky.books.running.filter((machine) => sky.site.said(machine) !== "terminating").map(({ name }) => tokenIn(name)),
      left: () => sky.api.left,
      weather: (change) => void sky.weather.set(change),
      loseNextAnswer: () => sky.weather.set({ answersLost: 1 }),
      tooMany: (tooMany) => sky.weather.set({ tooMany }),
      noCapacity: (none) => sky.weather.set({ noCapacity: none ? ["*"] : [] }),
      quotaExceeded: (quotaExceeded) => sky.weather.set({ quotaExceeded }),
      unauthorised: (unauthorised) => sky.weather.set({ unauthorised }),
      failing: (failing) => sky.weather.set({ failing }),
      invisibleMs: (invisibleMs) => sky.weather.set({ invisibleMs })
    }
    return test
  })
