import { assert, describe, it } from "@effect/vitest"
import { type Ec2Api, ec2Cloud, type RunningCloud, startSky } from "@millrace/sky"
import type { LeaseId, ProviderName } from "@millrace/schemas"
import { Effect, type Scope } from "effect"
import { keepsItsPromises, type ProviderUnderTest } from "../testing/promises.ts"
import { ec2 } from "./ec2.ts"
import { picoPerSecondOfDollars } from "./ec2-prices.ts"
import { credentialsIn, meaningOf } from "./ec2-words.ts"
import type { Wish } from "./provider.ts"

const key = { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" }
const column = { region: "us-east-1", zone: "us-east-1a", machineType: "t3.small", market: "on_demand" } as const
const spot = { ...column, market: "spot" } as const
const prices = {
  source: "a list of the test",
  regions: { "us-east-1": { "t3.small": "0.0208", "p5.48xlarge": "55.04", "g6.xlarge": "0.8048" }, "eu-central-1": { "t3.small": "0.024" } }
}

const client = (sky: RunningCloud<Ec2Api>, { credentials = key, regions = ["us-east-1"] }: { readonly credentials?: typeof key; readonly regions?: ReadonlyArray<string> } = {}) =>
  ec2({
    name: "aws" as ProviderName, endpoint: sky.url, credentials: () => Promise.resolve(credentials), prices,
    settings: { regions, image: "ami-0123456789abcdef0" },
    can: { requestsEvery: { anyMs: 0, createMs: 0 } }
  })

const open = Effect.gen(function*() {
  const { aws: sky } = yield* startSky({ clouds: { aws: ec2Cloud(key) } })
  const test: ProviderUnderTest = {
    provider: yield* client(sky),
    column,
    noneLeft: { reason: "out_of_capacity", narrows: "market" },
    overQuota: { reason: "quota", narrows: "market" },
    paid: () => sky.books.running.filter(({ stands }) => stands !== "terminating").map(({ name }) => name),
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

keepsItsPromises("EC2's client", open)

const wish = (name: string, of: Wish["column"] = column, change: Partial<Wish> = {}): Wish => ({
  leaseId: `lse_${name.toUpperCase().padStart(26, "0")}` as LeaseId, token: `t-${name}`, cell: "test", column: of,
  pricePicoPerSecondMax: picoPerSecondOfDollars("1"), userData: "#cloud-config\n{}\n", askedAtMs: 1_000, maySend: Effect.void, ...change
})

const under = (says: string, holds: (sky: RunningCloud<Ec2Api>) => Effect.Effect<void, unknown, Scope.Scope>, cloud: Partial<Parameters<typeof ec2Cloud>[0]> = {}) =>
  it.live(says, () => Effect.scoped(Effect.gen(function*() {
    const { aws } = yield* startSky({ clouds: { aws: ec2Cloud({ ...key, ...cloud }) } })
    yield* holds(aws)
  })))

describe("EC2's client", () => {
  under("signs as the vendor wants it, and another's secret opens nothing", (sky) => Effect.gen(function*() {
    const stranger = yield* client(sky, { credentials: { ...key, secretAccessKey: "another" } })
    assert.deepInclude(yield* stranger.offers, { reason: "unauthorised", narrows: "provider" })
    assert.deepInclude(yield* stranger.create(wish("a")), { reason: "unauthorised" })
    const unread = yield* ec2({ name: "aws" as ProviderName, endpoint: sky.url, prices, settings: { regions: ["us-east-1"], image: "ami-0123456789abcdef0" }, credentials: () => Promise.reject(Object.assign(new Error("no file"), { name: "CredentialsUnreadable" })) })
    assert.deepInclude(yield* unread.list, { reason: "unauthorised" })
    sky.weather.set({ expired: true })
    assert.deepInclude(yield* (yield* client(sky)).list, { reason: "unauthorised" })
  }))

  under("asking again under a token, in the same words or in others, buys one machine", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    const first = yield* provider.create(wish("a"))
    assert.deepStrictEqual(yield* provider.create(wish("a")), first)
    assert.deepStrictEqual(yield* provider.create(wish("a", column, { askedAtMs: 2_000 })), first)
    assert.deepStrictEqual(yield* provider.create(wish("a", column, { userData: "#cloud-config\n{\"a\":1}\n" })), first)
    assert.strictEqual(sky.books.all.length, 1)
  }))

  under("a machine that fails after it was promised was never bought, and its end is told", (sky) => Effect.gen(function*() {
    sky.weather.set({ lateFailures: 1 })
    const provider = yield* client(sky)
    const bought = yield* provider.create(wish("late"))
    assert.strictEqual(bought._tag, "Bought")
    const listed = yield* provider.list
    assert.deepStrictEqual(listed._tag === "Told" && listed.value.map(({ stands }) => stands), ["reclaimed"])
    assert.deepInclude(yield* provider.create(wish("late")), { reason: "out_of_capacity", narrows: "market" })
    assert.deepStrictEqual(sky.books.bills(Date.now()).map(({ costPico }) => costPico), [0n])
  }))

  under("spot is bought at a bid, its notice is a deadline, and its end is a reclaim", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    const told = yield* provider.offers
    const rows = told._tag === "Told" ? told.value.rows : []
    const offer = rows.find((row) => row.machineType === "t3.small" && row.market === "spot" && row.zone === "us-east-1a")
    assert.deepStrictEqual(offer, {
      machineType: "t3.small", market: "spot", regions: ["us-east-1"], zone: "us-east-1a", pricePicoPerSecond: picoPerSecondOfDollars("0.007072"),
      resources: { cpuMilli: 2000, memoryMib: 2048, diskMib: 102_400, gpus: 0 }
    })
    assert.deepInclude(rows.find(({ machineType }) => machineType === "p5.48xlarge"), { gpuModel: "H100", gpuMemoryMib: 81_920, market: "on_demand" })
    assert.deepInclude(yield* provider.create(wish("cheap", spot, { pricePicoPerSecondMax: picoPerSecondOfDollars("0.005") })), { reason: "price_moved", narrows: "market" })
    const bought = yield* provider.create(wish("spot", spot, { pricePicoPerSecondMax: offer?.pricePicoPerSecond ?? 0n }))
    const [machine] = sky.books.running
    assert.deepInclude(bought, { _tag: "Bought", machine: machine!.id })
    const atMs = Date.now()
    sky.site.reclaim(machine!, { atMs, noticeMs: 120_000 })
    const listed = yield* provider.list
    assert.deepInclude(listed._tag === "Told" ? listed.value[0] : {}, { market: "spot", zone: "us-east-1a", stands: "running", reclaimAtMs: atMs + 120_000, pricePicoPerSecond: offer?.pricePicoPerSecond })
    sky.site.reclaim(machine!, { atMs, noticeMs: 0 })
    const after = yield* provider.list
    assert.deepInclude(after._tag === "Told" ? after.value[0] : {}, { stands: "reclaimed" })
    sky.weather.set({ quotaExceeded: true })
    assert.deepInclude(yield* provider.create(wish("more", spot)), { reason: "quota", narrows: "market" })
  }))

  under("what is reserved is offered with how many of it are idle, taken as what it is, and nothing else is taken in its place", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    const idle = Effect.map(provider.offers, (told) => (told._tag === "Told" ? told.value.rows.filter(({ market }) => market === "reserved").map(({ machineType, stock, zone }) => [machineType, zone, stock]) : []))
    assert.deepStrictEqual(yield* idle, [["t3.small", "us-east-1a", 2]])
    const reserved = { ...column, market: "reserved" } as const
    assert.strictEqual((yield* provider.create(wish("one", reserved)))._tag, "Bought")
    assert.strictEqual((yield* provider.create(wish("one", reserved)))._tag, "Bought")
    assert.deepStrictEqual([sky.books.running.map(({ market }) => market), yield* idle], [["reserved"], [["t3.small", "us-east-1a", 1]]])
    assert.strictEqual((yield* provider.create(wish("two", reserved)))._tag, "Bought")
    assert.deepInclude(yield* provider.create(wish("three", reserved)), { reason: "out_of_capacity", narrows: "market" })
    sky.weather.set({ forbidden: ["DescribeCapacityReservations"] })
    const told = yield* (yield* client(sky)).offers
    assert.isTrue(told._tag === "Told" && told.value.rows.length > 0 && told.value.rows.every(({ market }) => market !== "reserved"))
  }), { reservations: [{ id: "cr-0a", type: "t3.small", zone: "us-east-1a", instances: 2 }] })

  under("a list is read to its last page, and what it names twice is one machine", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    for (const name of ["a", "b", "c", "d", "e"]) yield* provider.create(wish(name))
    const told = yield* provider.list
    assert.deepStrictEqual(told._tag === "Told" ? told.value.map(({ token }) => token) : [], ["t-a", "t-b", "t-c", "t-d", "t-e"])
    sky.weather.set({ listedTwice: true })
    const again = yield* provider.list
    assert.strictEqual(again._tag === "Told" ? again.value.length : 0, 5)
    const offers = yield* provider.offers
    assert.strictEqual(offers._tag === "Told" ? offers.value.rows.length : 0, 2 * (3 + 2 + 3))
  }), { pageMax: 2, limits: { other: { burst: 1_000, perSecond: 1_000 } } })

  under("what a zone has not, the next one may have, and a price of nothing is no offer", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    sky.weather.set({ noCapacity: ["*@us-east-1a/on_demand"], priceZero: ["t3.small@us-east-1b/spot"] })
    assert.deepInclude(yield* provider.create(wish("a")), { reason: "out_of_capacity", narrows: "market" })
    assert.strictEqual((yield* provider.create(wish("b", { ...column, zone: "us-east-1b" })))._tag, "Bought")
    assert.strictEqual((yield* provider.create(wish("c", spot)))._tag, "Bought")
    assert.deepInclude(yield* provider.create(wish("d", { ...column, zone: "us-east-1c", machineType: "p5.48xlarge" })), { reason: "offer_gone", narrows: "zone" })
    assert.deepInclude(yield* provider.create(wish("e", { ...column, zone: "us-east-1x" })), { reason: "offer_gone", narrows: "zone" })
    assert.deepInclude(yield* provider.create(wish("f", { ...column, region: "mars-north-1" })), { reason: "offer_gone", narrows: "region" })
    const told = yield* provider.offers
    assert.isFalse(told._tag === "Told" && told.value.rows.some(({ machineType, market, zone }) => machineType === "t3.small" && market === "spot" && zone === "us-east-1b"))
  }))

  under("several regions are one provider: a machine is found in its own, and ended there by a client that never saw it", (sky) => Effect.gen(function*() {
    const regions = ["us-east-1", "eu-central-1"]
    const bought = yield* (yield* client(sky, { regions })).create(wish("far", { region: "eu-central-1", machineType: "t3.small", market: "on_demand" }))
    const provider = yield* client(sky, { regions })
    const machine = bought._tag === "Bought" ? bought.machine : ""
    assert.deepStrictEqual(yield* provider.terminate(machine), { _tag: "Told", value: "ending" })
    assert.deepStrictEqual([sky.books.running, yield* provider.terminate("i-0fffffffffffffff0")], [[], { _tag: "Told", value: "not_there" }])
    assert.deepStrictEqual(sky.api.left, [])
  }))

  under("a region that says nothing takes no offers from the others, and hides none of the machines: then nothing is listed", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky, { regions: ["us-east-1", "eu-central-1", "mars-north-1"] })
    const told = yield* provider.offers
    assert.deepStrictEqual(told._tag === "Told" ? [...new Set(told.value.rows.flatMap(({ regions }) => regions))] : told, ["us-east-1", "eu-central-1"])
    assert.deepInclude(yield* provider.list, { reason: "unauthorised" })
    sky.weather.set({ unauthorised: true })
    assert.deepInclude(yield* provider.offers, { reason: "unauthorised" })
  }))

  under("an end that is refused is a refusal, and one whose answer is lost is asked for again", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    const bought = yield* provider.create(wish("a"))
    const machine = bought._tag === "Bought" ? bought.machine : ""
    sky.weather.set({ endsRefused: 1 })
    assert.deepInclude(yield* provider.terminate(machine), { reason: "invalid", narrows: "offer" })
    sky.weather.set({ endAnswersLost: 1 })
    assert.strictEqual((yield* Effect.flip(provider.terminate(machine)))._tag, "ProviderUnclear")
    assert.deepStrictEqual(yield* provider.terminate(machine), { _tag: "Told", value: "ending" })
  }))

  under("each permission is tried by itself, and the one that is missing is named", (sky) => Effect.gen(function*() {
    sky.weather.set({ forbidden: ["TerminateInstances"] })
    const checks = yield* (yield* client(sky)).check
    assert.deepStrictEqual(checks.filter(({ allowed }) => !allowed).map(({ permission }) => permission), ["ec2:TerminateInstances (us-east-1)"])
    assert.deepStrictEqual([sky.books.all.length, checks.length], [0, 8])
  }))

  under("keys that are exchanged serve from the next call on", (sky) => Effect.gen(function*() {
    let secretAccessKey = "an-old-one"
    const provider = yield* ec2({
      name: "aws" as ProviderName, endpoint: sky.url, prices, settings: { regions: ["us-east-1"], image: "ami-0123456789abcdef0" },
      credentials: () => Promise.resolve({ ...key, secretAccessKey }), can: { requestsEvery: { anyMs: 0, createMs: 0 } }
    })
    assert.deepInclude(yield* provider.list, { reason: "unauthorised" })
    secretAccessKey = key.secretAccessKey
    assert.deepStrictEqual(yield* provider.list, { _tag: "Told", value: [] })
  }))

  under("a provider that is down is unclear", (sky) => Effect.gen(function*() {
    const provider = yield* client(sky)
    sky.weather.set({ down: true })
    assert.strictEqual((yield* Effect.flip(provider.list))._tag, "ProviderUnclear")
  }))

  it("errors that are known mean one thing, and those that are not leave it open", () => {
    assert.deepStrictEqual(meaningOf("InsufficientInstanceCapacity", "", 500), { reason: "out_of_capacity", narrows: "market" })
    assert.deepStrictEqual(meaningOf("InvalidParameterValue", "User data is limited to 16384 bytes", 400), { reason: "invalid", narrows: "type" })
    assert.deepStrictEqual([meaningOf("InternalError", "", 500), meaningOf("Unavailable", "", 503), meaningOf("SomethingNew", "", 400), meaningOf("InvalidSomething", "", 500)], [undefined, undefined, undefined, undefined])
  })

  it("a credentials file is read by its profile", () => {
    const text = "[default]\naws_access_key_id = A\naws_secret_access_key=S\n\n[other]\naws_access_key_id=B\naws_secret_access_key=T\naws_session_token=U\n"
    assert.deepStrictEqual([credentialsIn(text), credentialsIn(text, "other"), credentialsIn(text, "none")], [
      { accessKeyId: "A", secretAccessKey: "S" }, { accessKeyId: "B", secretAccessKey: "T", sessionToken: "U" }, undefined
    ])
  })
})
