import { assert, describe, it } from "@effect/vitest"
import { vastHosts } from "./hosts.ts"
import { Market, minBidMicro } from "./market.ts"
import { found, malformedSearch } from "./search.ts"

const seen = (seed: string, atMs: number) => {
  const market = new Market({ seed, offerMs: 20_000, rivalMs: 600_000 })
  return vastHosts.flatMap((host) => market.listing(host, atMs, 1_000) ?? []).map(({ ask, microPerHour, rivalMicro }) => `${ask} ${microPerHour} ${rivalMicro}`)
}

describe("a market of offers", () => {
  it("is the same for one seed at one moment, and another for another seed", () => {
    assert.deepStrictEqual(seen("a", 1_700_000_000_000), seen("a", 1_700_000_000_000))
    assert.notDeepEqual(seen("a", 1_700_000_000_000), seen("b", 1_700_000_000_000))
  })

  it("comes and goes: after twenty seconds no offer has kept its number, after ten some have", () => {
    const first = new Set(seen("a", 1_700_000_000_000).map((row) => row.split(" ")[0]))
    const kept = (atMs: number) => seen("a", atMs).filter((row) => first.has(row.split(" ")[0])).length
    assert.strictEqual(kept(1_700_000_020_000), 0)
    assert.isTrue(kept(1_700_000_010_000) > 0 && kept(1_700_000_010_000) < first.size)
  })

  it("has hosts that are away, and numbers by which a host is known", () => {
    const market = new Market({ seed: "a", offerMs: 20_000, rivalMs: 600_000 })
    const there = vastHosts.filter((host) => market.listing(host, 1_700_000_000_000, 1_000) !== undefined)
    assert.isTrue(there.length > vastHosts.length / 2 && there.length < vastHosts.length)
    for (const host of there) assert.strictEqual(Market.hostOf(market.listing(host, 1_700_000_000_000, 1_000)!.ask), host.number)
  })

  it("asks for more than others bid, and for what the owner wants at least", () => {
    assert.strictEqual(minBidMicro({ floorMicro: 100, rivalMicro: 40 }), 100)
    assert.strictEqual(minBidMicro({ floorMicro: 100, rivalMicro: 400 }), 400)
  })
})

describe("a search", () => {
  const rows = [1, 2, 3].map((id) => ({ id, dph_total: 4 - id, verified: id !== 2, rentable: true, rented: false, gpu_name: id === 3 ? "H100 SXM" : "RTX 4090" }))
  const ids = (query: Record<string, unknown>) => found(query, rows).map(({ id }) => id)

  it("finds what can be rented and is verified, unless it asks for other things, in its order and number", () => {
    assert.deepStrictEqual(ids({}), [1, 3])
    assert.deepStrictEqual(ids({ verified: { eq: false } }), [2])
    assert.deepStrictEqual(ids({ order: [["dph_total", "asc"]], limit: 1 }), [3])
    assert.deepStrictEqual(ids({ gpu_name: { in: ["RTX 4090"] }, verified: { in: [true, false] }, id: { lte: 1 } }), [1])
  })

  it("is refused where the description does not allow it", () => {
    const row = rows[0]!
    assert.isUndefined(malformedSearch({ type: "bid", limit: 5, order: [["id", "asc"]], gpu_name: { eq: "x" }, allocated_storage: 64 }, row))
    for (const wrong of [{ type: "spot" }, { limit: 1.5 }, { order: [["nothing", "asc"]] }, { order: [["id"]] }, { nothing: { eq: 1 } }, { id: 1 }, { id: { like: 1 } }]) assert.isDefined(malformedSearch(wrong, row))
  })
})
