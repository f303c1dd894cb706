import type { Digest, SnapshotId } from "@millrace/schemas"
import { assert, describe, it } from "vitest"
import { type Copies, named, noCopies, saidMax, saidOf, speedAfter, used, without } from "./copies.ts"

const digest = (name: string) => `sha256:${name.padStart(64, "0")}` as Digest
const snapshot = (name: string) => `snp_${name.toUpperCase().padStart(26, "0")}` as SnapshotId
const keep = (copies: Copies, name: string, sizeBytes: number, bytesMax = 100) => used(copies, { digest: digest(name), sizeBytes }, bytesMax)
const names = ({ blobs }: Copies) => [...blobs.keys()].map((one) => one.replace(/^sha256:0*/u, ""))

describe("copies on a host", () => {
  it("those used longest ago go when the rest would be too much; a use makes one young", () => {
    const three = ["a", "b", "c"].reduce((copies, name) => keep(copies, name, 30).copies, noCopies)
    const { copies, gone } = keep(keep(three, "a", 30).copies, "d", 60)
    assert.deepStrictEqual(names(copies), ["a", "d"])
    assert.deepStrictEqual(gone.map((copy) => copy.digest), [digest("b"), digest("c")])
    assert.strictEqual(copies.bytes, 90)
  })

  it("one that is too large alone is not kept, and takes nothing with it that would stay", () => {
    const { copies, gone } = keep(keep(noCopies, "b", 30).copies, "a", 101)
    assert.deepStrictEqual([names(copies), gone.length, copies.bytes], [["b"], 1, 30])
  })

  it("a snapshot is here as long as its bytes are, and no more than four ids for the same bytes", () => {
    const one = keep(noCopies, "a", 60).copies
    const ids = ["1", "2", "3", "4", "5"].map(snapshot)
    const all = ids.reduce((copies, id) => named(copies, id, digest("a")), one)
    assert.deepStrictEqual([...all.snapshots.keys()], ids.slice(1))
    assert.strictEqual(named(one, snapshot("1"), digest("b")), one, "whose bytes are not here")
    assert.strictEqual(keep(keep(all, "a", 60).copies, "b", 10).copies.snapshots.size, 4)
    assert.strictEqual(keep(all, "b", 60).copies.snapshots.size, 0)
    assert.deepStrictEqual(without(all, digest("a")), noCopies)
  })

  it("the largest are told, with their bytes", () => {
    let copies = noCopies
    for (let at = 1; at <= saidMax + 5; at += 1) copies = keep(copies, String(at), at, 1e9).copies
    copies = named(copies, snapshot("A"), digest("7"))
    const said = saidOf(copies)
    assert.strictEqual(said.blobs.length, saidMax)
    assert.deepStrictEqual([said.blobs[0], said.sizesBytes[0], said.sizesBytes.at(-1)], [digest(String(saidMax + 5)), saidMax + 5, 6])
    assert.deepStrictEqual(said.snapshots, [snapshot("A")])
  })

  it("how fast a host loads is what the last large loads showed", () => {
    assert.isUndefined(speedAfter(undefined, { bytes: 1000, ms: 1 }))
    assert.strictEqual(speedAfter(undefined, { bytes: 2_097_152, ms: 100 }), 20_972)
    assert.strictEqual(speedAfter(20_000, { bytes: 2_000_000, ms: 50 }), 26_000)
    assert.strictEqual(speedAfter(20_000, { bytes: 2_000_000, ms: 0 }), 614_000)
  })
})
