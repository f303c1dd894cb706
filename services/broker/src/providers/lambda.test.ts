import { assert, describe, it } from "@effect/vitest"
import { type LambdaApi, lambdaCloud, type RunningCloud, startSky } from "@millrace/sky"
import type { ProviderName } from "@millrace/schemas"
import { Effect, Redacted } from "effect"
import { FetchHttpClient } from "effect/http"
import { keepsItsPromises, wish } from "../testing/promises.ts"
import { underWeather } from "../testing/under-weather.ts"
import { lambda } from "./lambda.ts"

const column = { region: "us-east-1", machineType: "cpu_1x_small", market: "on_demand" } as const

const client = (sky: RunningCloud<LambdaApi>, everyMs: { readonly anyMs: number; readonly createMs: number }, key = "right") =>
  lambda({ name: "lambda" as ProviderName, endpoint: sky.url, apiKey: Redacted.make(key), sshKey: "millrace", can: { requestsEvery: everyMs } }).pipe(Effect.provide(FetchHttpClient.layer))

const quick = { anyMs: 0, createMs: 0 }

keepsItsPromises("Lambda's client", underWeather(lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }), (sky) => client(sky, quick), { column }))

describe("Lambda's client", () => {
  it.live("a client that does not wait is told to, so the limit is one that can be broken", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 60_000, launch: 60_000 } }) } })
      const provider = yield* client(sky, quick)
      yield* provider.list
      assert.deepInclude(yield* provider.list, { reason: "rate_limited" })
    })))

  it.live("a machine that fails while it comes is told as ended, and one that is taken back as that", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
      const provider = yield* client(sky, quick)
      sky.weather.set({ lateFailures: 1 })
      for (const name of ["fails", "stays"]) yield* provider.create(wish(name, column))
      const stays = sky.books.all.find(({ name }) => name === wish("stays", column).token)!
      sky.site.reclaim(stays, { atMs: Date.now(), noticeMs: 0 })
      const listed = yield* provider.list
      assert.deepStrictEqual(listed._tag === "Told" ? listed.value.map(({ stands, token }) => [token, stands]) : [], [[wish("fails", column).token, "terminated"], [stays.name, "reclaimed"]])
    })))

  it.live("a launch that is refused for a missing SSH key is no type that is not sold", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", sshKeys: ["another"], everyMs: { any: 0, launch: 0 } }) } })
      const provider = yield* client(sky, quick)
      assert.deepInclude(yield* provider.create(wish("keyless", column)), { reason: "invalid", narrows: "provider" })
      assert.deepStrictEqual((yield* provider.check).filter(({ allowed }) => !allowed).map(({ permission }) => permission), ["ssh-keys/millrace"])
    })))

  it.live("a key that may not launch or end is told so, and nothing was bought by asking", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
      const provider = yield* client(sky, quick)
      assert.isTrue((yield* provider.check).every(({ allowed }) => allowed))
      sky.weather.set({ forbidden: ["instance-operations/launch", "instance-operations/terminate"] })
      const checks = yield* provider.check
      assert.deepStrictEqual(checks.filter(({ allowed }) => !allowed).map(({ permission }) => permission), ["instance-operations/launch", "instance-operations/terminate"])
      assert.deepStrictEqual(sky.books.all, [])
    })))

  it.live("what is for nothing is read as that, and the memory of a GPU from its name", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
      sky.weather.set({ priceZero: ["gpu_1x_a10"] })
      const told = yield* (yield* client(sky, quick)).offers
      const rows = told._tag === "Told" ? told.value.rows : []
      assert.strictEqual(rows.find(({ machineType }) => machineType === "gpu_1x_a10")?.pricePicoPerSecond, 0n)
      assert.deepInclude(rows.find(({ machineType }) => machineType === "gpu_8x_a100_80gb_sxm4"), { gpuModel: "A100", gpuMemoryMib: 81_920 })
    })))

  it.live("another's key opens nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey: "right", everyMs: { any: 0, launch: 0 } }) } })
      const provider = yield* client(sky, quick, "wrong")
      assert.deepInclude(yield* provider.offers, { reason: "unauthorised" })
    })))
})
