import { assert, describe, it } from "@effect/vitest"
import type { Digest, Offer, OffersListed, OffersObserved, ProviderName } from "@millrace/schemas"
import { evolveOffers, listOffers } from "./possible.ts"
import { emptyWorld } from "./world.ts"

const offer = (cores: number): Offer => ({ machineType: `m${cores}`, market: "on_demand", resources: { cpuMilli: cores * 1000, memoryMib: 1, diskMib: 0, gpus: 0 }, pricePicoPerSecond: 1n, regions: ["here"] })
const list = (name: string) => ({ digest: `sha256:${name.repeat(64)}` as Digest, sizeBytes: 1 })
const sky = "sky" as ProviderName
const part = (name: string, ...cores: ReadonlyArray<number>): OffersListed => ({ _tag: "OffersListed", provider: sky, offers: list(name), rows: cores.map(offer) })
const last = (name: string, count: number, ...cores: ReadonlyArray<number>): OffersObserved =>
  ({ _tag: "OffersObserved", provider: sky, observedAtMs: 0, offers: list(name), count, source: "s", rows: cores.map(offer) })

describe("offers that are too many for one fact", () => {
  it("are all known once the last part is said, and not all of them where a part is of another list", () => {
    const { offers } = emptyWorld()
    listOffers(offers, part("a", 1, 2))
    listOffers(offers, part("a", 3))
    evolveOffers(offers, last("a", 4, 4))
    assert.deepInclude(offers.get(sky), { whole: true })
    assert.strictEqual(offers.get(sky)!.kinds.size, 4)
    assert.notProperty(offers.get(sky), "listed")
    listOffers(offers, part("b", 5))
    evolveOffers(offers, last("c", 2, 6))
    assert.deepInclude(offers.get(sky), { whole: false })
  })
})
