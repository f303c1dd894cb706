import { assert, it } from "@effect/vitest"
import type { Digest, MillFact, SnapshotId } from "@millrace/schemas"
import { Effect, Latch } from "effect"
import { TestClock } from "effect/testing"
import { type Copies, named, noCopies, used, without } from "./domain/copies.ts"
import { Site } from "./testing/agent.ts"

const digest = (name: string) => `sha256:${name.padStart(64, "0")}` as Digest
const snapshotId = `snp_${"0".repeat(26)}` as SnapshotId

const told = (site: Site) => Effect.map(site.saidOfItself, (facts) => facts.map(({ event }) => brief(event)))

const brief = (event: MillFact): string =>
  event._tag === "StateResident"
    ? `holds ${event.blobs.map((one, at) => `${one.slice(-1)}:${event.sizesBytes?.[at]}`).join(" ")}${event.snapshots.length > 0 ? " and a snapshot" : ""} at ${event.loadBytesPerMs ?? "?"}`
    : event._tag

it.effect("a host says what it holds ready when that changes, not too often, and anew whenever it joins", () => Effect.gen(function*() {
  const site = yield* Site.make
  const changed = Latch.makeUnsafe(false)
  let held: Copies = noCopies
  let loadBytesPerMs: number | undefined
  site.copies = {
    over: (store) => store,
    alongside: (store) => store,
    isSnapshot: () => Effect.void,
    held: () => ({ copies: held, loadBytesPerMs }),
    changed: Effect.andThen(changed.await, Effect.sync(() => void changed.closeUnsafe()))
  }
  const become = (copies: Copies) => Effect.suspend(() => {
    held = copies
    changed.openUnsafe()
    return site.settle
  })
  yield* site.start
  assert.deepStrictEqual(yield* told(site), ["HostJoined"], "who holds nothing says nothing")
  yield* become(used(held, { digest: digest("a"), sizeBytes: 5 }, 100).copies)
  yield* become(named(held, snapshotId, digest("a")))
  loadBytesPerMs = 7
  yield* become(used(held, { digest: digest("b"), sizeBytes: 9 }, 100).copies)
  assert.deepStrictEqual((yield* told(site)).slice(1), ["holds a:5 at ?"], "the rest waits")
  yield* TestClock.adjust("5 seconds")
  yield* site.settle
  assert.deepStrictEqual((yield* told(site)).slice(2), ["holds b:9 a:5 and a snapshot at 7"])
  yield* TestClock.adjust("5 seconds")
  yield* become(without(held, digest("a")))
  assert.deepStrictEqual((yield* told(site)).slice(3), ["holds b:9 at 7"], "that it went")
  yield* site.kill
  yield* site.start
  assert.deepStrictEqual((yield* told(site)).slice(4), ["HostJoined", "holds b:9 at 7"])
}))
