import { assert, describe, it } from "@effect/vitest"
import { type LambdaApi, lambdaCloud, type RunningCloud, startSky } from "@millrace/sky"
import type { ProviderName } from "@millrace/schemas"
import { Effect, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { keepsItsPromises, type ProviderUnderTest } from "../testing/promises.ts"
import { lambda } from "./lambda.ts"

const column = { region: "us-east-1", machineType: "cpu_1x_small", market: "on_demand" } as const

const client = (sky: RunningCloud<LambdaApi>, everyMs: { readonly anyMs: number; readonly createMs: number }, key = "right") =>
  lambda({ name: "lambda" as ProviderName, endpoint: sky.url, apiKey: Redacted.make(key), sshKey: "millrace", can: { requestsEvery: everyMs } }).pipe(Effect.provide(FetchHttpClient.layer))

const quick = { anyMs: 0, createMs: 0 }

const open = Effect.gen(function*() {
  const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
  const test: ProviderUnderTest = {
    provider: yield* client(sky, quick),
    column,
    paid: () => sky.books.running.filter(({ stands }) => stands !== "terminating").map(({ name }) => name),
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

keepsItsPromises("Lambda's client", open)

describe("Lambda's client", () => {
  it.live("a client that does not wait is told to, so the limit is one that can be broken", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 60_000, launch: 60_000 } }) } })
      const provider = yield* client(sky, quick)
      yield* provider.list
      assert.deepInclude(yield* provider.list, { reason: "rate_limited" })
    })))

  it.live("another's key opens nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
      const provider = yield* client(sky, quick, "wrong")
      assert.deepInclude(yield* provider.offers, { reason: "unauthorised" })
    })))
})
