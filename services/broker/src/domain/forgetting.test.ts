import { assert, describe, it } from "@effect/vitest"
import { namedId } from "@millrace/decider"
import type { AttemptId, HostId, MillFact } from "@millrace/schemas"
import { admitted, Desk, digestOf, firstLease, granted, joinedAs, observed, offer, provider, tookOver, waits } from "../testing/desk.ts"
import { broker } from "./broker.ts"

const size = { cpuMilli: 1000, memoryMib: 900, gpus: 0 }
const about = (host: string, name: string) => ({ hostId: namedId<HostId>("hst", host), attemptId: namedId<AttemptId>("att", name) })
const placed = (host: string, name: string): MillFact => ({ _tag: "PlacementMade", ...about(host, name) }) as never
const exited = (host: string, name: string): MillFact => ({ _tag: "AttemptExited", ...about(host, name) }) as never
const left = (host: string): MillFact => ({ _tag: "HostLeft", hostId: about(host, "").hostId }) as never
const hour = 3_600_000

/** One machine is bought, works, leaves and ends; some of what it did is heard late. */
const turnover = (desk: Desk, name: string, atMs: number): void => {
  desk.hear(atMs, waits(1))
  desk.decide(atMs)
  const lease = firstLease(desk)
  const digest = digestOf(desk)
  desk.hear(atMs + 1, granted(lease), admitted(digest, name), joinedAs(name, size), waits(0), placed(name, `${name} a`), left(name), exited(name, `${name} a`), exited(name, `${name} b`))
  desk.hear(atMs + 2, { _tag: "LeaseReleased", leaseId: lease, provider, cause: "drained" }, { _tag: "LeaseEnded", leaseId: lease, provider, confirmed: "terminated", endedAtMs: atMs, costPico: 1n })
  desk.hear(atMs + 3, exited(name, `${name} c`), { _tag: "HostDeclaredLost", hostId: about(name, "").hostId } as never, admitted(digest, name), joinedAs(name, size))
}

describe("what a broker remembers of hosts", () => {
  it("is of those that are, however many there were", () => {
    const desk = new Desk().hear(0, tookOver(), observed(offer("small")))
    const sizes: Array<number> = []
    for (let at = 0; at < 300; at += 1) {
      turnover(desk, `machine ${at}`, at * 60_000)
      sizes.push(JSON.stringify(broker.save(desk.state), (_, value: unknown) => (typeof value === "bigint" ? `${value}` : value)).length)
    }
    assert.deepStrictEqual([desk.state.hosts.size, desk.state.byDigest.size, desk.state.leases.size], [0, 0, 0])
    // An hour's turnover is minded, and no more.
    assert.isAtMost(desk.state.over.size, 2 * (hour / 60_000 + 2))
    assert.isAtMost(sizes[299]!, sizes[100]! * 1.1)
    const again = broker.load(structuredClone(broker.save(desk.state)) as never)
    assert.deepStrictEqual(broker.save(again), broker.save(desk.state))
  })

  it("comes back with a host of our own that left and joins again, and keeps no exits of what is gone", () => {
    const desk = new Desk().hear(0, tookOver(), admitted("another key", "own"), joinedAs("own", size), placed("own", "1"), left("own"))
    assert.strictEqual(desk.state.hosts.size, 0)
    desk.hear(1, exited("own", "1"))
    assert.strictEqual(desk.state.hosts.size, 0)
    desk.hear(2, joinedAs("own", size), placed("own", "2"))
    assert.strictEqual([...desk.state.hosts.values()][0]?.running.size, 1)
    desk.hear(3, { _tag: "HostDeclaredLost", hostId: about("own", "").hostId } as never, exited("own", "2"), exited("own", "3"))
    assert.strictEqual([...desk.state.hosts.values()][0]?.endedEarly.size, 0)
  })
})
