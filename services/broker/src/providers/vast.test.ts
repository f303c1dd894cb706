import { assert, describe, it } from "@effect/vitest"
import type { LeaseId, ProviderName } from "@millrace/schemas"
import { type RunningCloud, startSky, type VastApi, vastCloud } from "@millrace/sky"
import { Effect, Redacted, type Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { keepsItsPromises } from "../testing/promises.ts"
import { underWeather } from "../testing/under-weather.ts"
import type { Capabilities, Provider, Wish } from "./provider.ts"
import { vast } from "./vast.ts"
import { readLabel } from "./vast-words.ts"

const images = { machine: "docker.io/millrace/host-vm", container: "docker.io/millrace/host" }
const quick: Capabilities["requestsEvery"] = { anyMs: 300, createMs: 300 }
const still = { offerMs: Number.POSITIVE_INFINITY, rivalMs: Number.POSITIVE_INFINITY }

const client = (sky: RunningCloud<VastApi>, key = "right", requestsEvery = quick): Effect.Effect<Provider> =>
  vast({ name: "vast" as ProviderName, endpoint: sky.url, apiKey: Redacted.make(key), images, can: { requestsEvery } }).pipe(Effect.provide(FetchHttpClient.layer))

const market = (options: Partial<Parameters<typeof vastCloud>[0]> = {}) =>
  Effect.map(startSky({ clouds: { vast: vastCloud({ apiKey: "right", pace: 0, market: still, ...options }) } }), ({ vast: sky }) => sky)

const rowsOf = Effect.fnUntraced(function*(provider: Provider) {
  const told = yield* provider.offers
  return told._tag === "Told" ? told.value.rows : []
})

/** The cheapest offer of a market that sells so. */
const columnIn = (provider: Provider, as: "on_demand" | "spot", sells?: "machines" | "containers"): Effect.Effect<Pick<Wish, "column" | "pricePicoPerSecondMax">, unknown> =>
  Effect.map(rowsOf(provider), (rows) => {
    const found = rows.find((row) => row.market === as && row.resources.gpus > 0 && (sells === undefined || row.sells === sells))!
    return { column: { region: found.regions[0]!, machineType: found.machineType, market: as, offer: found.offer! }, pricePicoPerSecondMax: found.pricePicoPerSecond }
  })

const wish = (name: string, rest: Pick<Wish, "column" | "pricePicoPerSecondMax">, userData = "#cloud-config\n{}\n"): Wish =>
  ({ leaseId: `lse_${name.toUpperCase().padStart(26, "0")}` as LeaseId, token: `millrace-${name}`, cell: "a cell/1", userData, askedAtMs: 1_000, maySend: Effect.void, ...rest })

const listedIn = Effect.fnUntraced(function*(provider: Provider) {
  const told = yield* provider.list
  return told._tag === "Told" ? told.value : []
})

const h100 = { region: "us-texas", machineType: "1xH100_SXM", market: "on_demand", offer: "900000000" } as const

keepsItsPromises("Vast's client", underWeather(vastCloud({ apiKey: "right", pace: 0, market: still }), client, {
  column: h100,
  unsold: { ...h100, offer: "999" },
  // What is gone from a market is that one offer.
  noneLeft: { reason: "offer_gone", narrows: "offer" },
  tokenIn: (name) => readLabel(name).token ?? ""
}))

const story = (says: string, tells: Effect.Effect<void, unknown, Scope.Scope>) => it.live(says, () => Effect.scoped(tells))

describe("Vast's market", () => {
  story("sells single offers, at a price and for bids, whole machines and containers apart, and the unverified to nobody", Effect.gen(function*() {
    const rows = yield* rowsOf(yield* client(yield* market()))
    assert.deepStrictEqual([...new Set(rows.map(({ market, sells }) => `${market} ${sells}`))].sort(), ["on_demand containers", "on_demand machines", "spot containers", "spot machines"])
    assert.isTrue(rows.every(({ offer, regions, reliabilityPermille }) => offer !== undefined && regions.length === 1 && (reliabilityPermille ?? 0) >= 950))
    const of = (machineType: string, market: string) => rows.filter((row) => row.machineType === machineType && row.market === market)
    assert.deepInclude(of("1xH100_SXM", "on_demand")[0], { gpuModel: "H100 SXM", gpuMemoryMib: 81_920, regions: ["us-texas"] })
    assert.isTrue(of("1xH100_SXM", "spot")[0]!.pricePicoPerSecond < of("1xH100_SXM", "on_demand")[0]!.pricePicoPerSecond)
  }))

  story("an offer that somebody has is gone, and only that offer", Effect.gen(function*() {
    const provider = yield* client(yield* market())
    const chosen = yield* columnIn(provider, "on_demand")
    assert.strictEqual((yield* provider.create(wish("first", chosen)))._tag, "Bought")
    assert.deepInclude(yield* provider.create(wish("second", chosen)), { reason: "offer_gone", narrows: "offer" })
    assert.isUndefined((yield* rowsOf(provider)).find(({ market, offer }) => market === "on_demand" && offer === chosen.column.offer))
  }))

  story("an offer's number is good for seconds", Effect.gen(function*() {
    const sky = yield* market({ market: { ...still, offerMs: 50 } })
    const provider = yield* client(sky)
    const chosen = yield* columnIn(provider, "on_demand")
    yield* Effect.sleep(120)
    assert.deepInclude(yield* provider.create(wish("late", chosen)), { reason: "offer_gone", narrows: "offer" })
    assert.deepStrictEqual(sky.books.all, [])
  }))

  story("a machine comes as one and a container as that, with what it is to run", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const userData = `#cloud-config\n${JSON.stringify({ write_files: [{ path: "/etc/millrace/one-time-key", content: "k".repeat(300) }], runcmd: [["true"]] })}\n`
    for (const sells of ["machines", "containers"] as const) yield* provider.create(wish(sells, yield* columnIn(provider, "on_demand", sells), userData))
    assert.deepStrictEqual(sky.books.all.map((machine) => [readLabel(machine.name).token, machine.userData]), [["millrace-machines", userData], ["millrace-containers", userData]])
    assert.deepStrictEqual((yield* listedIn(provider)).map(({ cell, sinceMs }) => [cell, sinceMs]), [["a cell/1", 1_000], ["a cell/1", 1_000]])
  }))

  story("user data that is too long for the vendor's start script, or no such form, buys nothing", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const chosen = yield* columnIn(provider, "on_demand")
    const long = `#cloud-config\n${JSON.stringify({ runcmd: Array.from({ length: 900 }, (_, at) => [String(Math.sin(at))]) })}\n`
    for (const userData of [long, "#!/bin/sh\ntrue\n", "#cloud-config\n{\"packages\":[]}\n"]) assert.deepInclude(yield* provider.create(wish("odd", chosen, userData)), { reason: "invalid" })
    assert.deepStrictEqual(sky.books.all, [])
  }))

  story("a contract that is over soon is told as taken back at its end, and over it is over", Effect.gen(function*() {
    const sky = yield* market({ rentMs: 1_800_000 })
    const provider = yield* client(sky)
    yield* provider.create(wish("rented", yield* columnIn(provider, "on_demand")))
    const [soon] = yield* listedIn(provider)
    assert.deepInclude(soon, { stands: "running", reclaimAtMs: sky.books.all[0]!.bornAtMs + 1_800_000 })
    sky.api.settle(Date.now() + 1_800_000)
    assert.strictEqual(sky.books.running[0]?.stands, "stopped")
  }))

  story("a cell whose name is too long for a label buys nothing", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    assert.deepInclude(yield* provider.create({ ...wish("long", yield* columnIn(provider, "on_demand")), cell: "c".repeat(250) }), { reason: "invalid", narrows: "provider" })
    assert.deepStrictEqual(sky.books.all, [])
  }))

  story("without an SSH key of the account no virtual machine comes, and the check says so", Effect.gen(function*() {
    const provider = yield* client(yield* market({ sshKeys: [] }))
    assert.deepInclude(yield* provider.create(wish("vm", yield* columnIn(provider, "on_demand", "machines"))), { reason: "invalid", narrows: "provider" })
    assert.deepStrictEqual((yield* provider.check).filter(({ allowed }) => !allowed).map(({ permission }) => permission), ["user_read: show ssh-keys"])
  }))

  story("a key with some permissions is told which are missing", Effect.gen(function*() {
    const sky = yield* market()
    sky.weather.set({ forbidden: ["instance_write", "billing_read"] })
    const missing = (yield* (yield* client(sky)).check).filter(({ allowed }) => !allowed).map(({ permission }) => permission.split(":")[0])
    assert.deepStrictEqual(missing, ["instance_write", "billing_read"])
  }))

  story("every page of the list is read", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const onDemand = (yield* rowsOf(provider)).filter((row) => row.market === "on_demand")
    for (const [at, row] of onDemand.slice(0, 27).entries()) {
      yield* provider.create(wish(`m${at}`, { column: { region: row.regions[0]!, machineType: row.machineType, market: "on_demand", offer: row.offer! }, pricePicoPerSecondMax: row.pricePicoPerSecond }))
    }
    const tokens = (yield* listedIn(provider)).map(({ token }) => token)
    assert.isAbove(tokens.length, 25)
    assert.deepStrictEqual(tokens, sky.books.all.map(({ name }) => readLabel(name).token))
  }))

  story("a wrong key ends nothing, and is no machine that is not there", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const bought = yield* provider.create(wish("stays", yield* columnIn(provider, "on_demand")))
    const machine = bought._tag === "Bought" ? bought.machine : ""
    assert.deepInclude(yield* (yield* client(sky, "wrong")).terminate(machine), { reason: "unauthorised" })
    sky.weather.set({ expired: true })
    assert.deepInclude(yield* provider.terminate(machine), { reason: "unauthorised" })
    assert.strictEqual(sky.books.running.length, 1)
  }))

  story("an answer that is OK and no success leaves open what has happened", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const bought = yield* provider.create(wish("stays", yield* columnIn(provider, "on_demand")))
    sky.weather.set({ endsRefused: 1 })
    assert.strictEqual((yield* Effect.flip(provider.terminate(bought._tag === "Bought" ? bought.machine : "")))._tag, "ProviderUnclear")
  }))

  story("each endpoint has its own budget, and a client that keeps to it is never too fast", Effect.gen(function*() {
    // Requests may be on their way for some time, and for others than each other: the client leaves more than twice what is asked.
    const sky = yield* market({ pace: 0.02 })
    const provider = yield* client(sky, "right", { anyMs: 300, createMs: 300 })
    const chosen = yield* columnIn(provider, "on_demand")
    yield* Effect.all([provider.list, provider.create(wish("a", chosen)), provider.create(wish("b", chosen)), provider.list], { concurrency: "unbounded" })
    assert.strictEqual(sky.api.tooFast, 0)
    const hasty = yield* client(yield* market({ pace: 60 }))
    yield* hasty.list
    const late = yield* hasty.list
    assert.deepInclude(late, { reason: "rate_limited" })
    assert.isAbove(late._tag === "Refusal" ? late.untilMs ?? 0 : 0, 1_000)
  }))
})

describe("a bid", () => {
  const bidden = Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const chosen = yield* columnIn(provider, "spot")
    const bought = yield* provider.create(wish("bid", chosen))
    return { sky, provider, chosen, machine: bought._tag === "Bought" ? bought.machine : "" }
  })

  story("costs what was offered, storage included, and no more", Effect.gen(function*() {
    const { chosen, provider, sky } = yield* bidden
    const [one] = yield* listedIn(provider)
    assert.deepInclude(one, { market: "spot", machineType: chosen.column.machineType })
    assert.isTrue(one!.pricePicoPerSecond <= chosen.pricePicoPerSecondMax && one!.pricePicoPerSecond > (chosen.pricePicoPerSecondMax * 99n) / 100n)
    assert.strictEqual(one!.pricePicoPerSecond, (sky.books.all[0]!.soldPicoPerHour + 3599n) / 3600n)
  }))

  story("that others outbid stops without notice: told as taken back, at the price of its storage, until it is ended", Effect.gen(function*() {
    const { machine, provider, sky } = yield* bidden
    const running = (yield* listedIn(provider))[0]!
    assert.isUndefined(running.reclaimAtMs)
    sky.weather.set({ spotPricePermille: 20_000 })
    const [stopped] = yield* listedIn(provider)
    assert.isTrue(stopped!.reclaimAtMs !== undefined && stopped!.reclaimAtMs <= Date.now())
    assert.isTrue(stopped!.pricePicoPerSecond > 0n && stopped!.pricePicoPerSecond < running.pricePicoPerSecond / 5n)
    assert.strictEqual(sky.books.running[0]!.stands, "stopped")
    assert.strictEqual((yield* provider.terminate(machine))._tag, "Told")
    assert.deepStrictEqual([yield* listedIn(provider), sky.books.running], [[], []])
  }))

  story("that is too low by now buys nothing that stands there stopped", Effect.gen(function*() {
    const sky = yield* market()
    const provider = yield* client(sky)
    const chosen = yield* columnIn(provider, "spot")
    sky.weather.set({ spotPricePermille: 20_000 })
    assert.deepInclude(yield* provider.create(wish("low", chosen)), { narrows: "offer" })
    assert.deepInclude(yield* provider.create(wish("lower", { ...chosen, pricePicoPerSecondMax: chosen.pricePicoPerSecondMax / 2n })), { reason: "price_moved", narrows: "offer" })
    assert.deepStrictEqual(sky.books.all, [])
  }))

  story("is charged by the second, and the bill says what the ledger does", Effect.gen(function*() {
    const { machine, provider, sky } = yield* bidden
    yield* Effect.sleep(1_100)
    yield* provider.terminate(machine)
    const nowMs = Date.now()
    const billed = yield* provider.bill!(nowMs - 60_000, nowMs)
    const [truth] = sky.books.bills(nowMs)
    assert.strictEqual(billed._tag, "Told")
    const [line] = billed._tag === "Told" ? billed.value : []
    assert.strictEqual(line?.machine, machine)
    assert.strictEqual(line!.amountPico / 1_000_000n, truth!.costPico / 1_000_000n)
    assert.isTrue(truth!.billedMs >= 1_000 && truth!.billedMs % 1_000 === 0)
  }))
})
