import { assert, describe, it } from "vitest"
import { dollarsExact, dollarsShort, picoOf } from "./money.ts"
import { allFields, bytesText, spanText } from "./render.ts"
import { missingText, Trouble, troubleJson, troubleText } from "./trouble.ts"

describe("money", () => {
  it("is exact to the pico-dollar", () =>
    assert.deepStrictEqual(["0", "1", "259446", "1203400000000", "100000000000000", "-2500000000000"].map(dollarsExact),
      ["$0.00", "$0.000000000001", "$0.000000259446", "$1.2034", "$100.00", "-$2.50"]))

  it("is short where it is read in passing, and never shown as more than it is", () =>
    assert.deepStrictEqual(["0", "1", "259446", "999999999999", "1999999999999", "-2500000000000"].map(dollarsShort),
      ["$0.00", "$0.000000000001", "$0.0000002594", "$0.9999", "$1.99", "-$2.50"]))

  it("is read as it is written", () => {
    assert.deepStrictEqual(["25", "$0.50", "0.000000000001", "1.2034"].map(picoOf), ["25000000000000", "500000000000", "1", "1203400000000"])
    assert.deepStrictEqual(["", "-1", "1e3", "0.0000000000001", "1,5", "$"].map(picoOf), Array.from({ length: 6 }, () => undefined))
  })

  it("says of every exact amount what was read", () => {
    for (const pico of ["1", "999999999999", "1000000000000", "123456789012345"]) assert.strictEqual(picoOf(dollarsExact(pico)), pico)
  })
})

describe("lengths, sizes and fields", () => {
  it("are told in the units that people use", () => {
    assert.deepStrictEqual([0, 999, 12_345, 185_000, 7_800_000].map(spanText), ["0 ms", "999 ms", "12.3 s", "3 m 5 s", "2 h 10 m"])
    assert.deepStrictEqual([0, 1023, 1024, 3 * 1024 ** 2, 5 * 1024 ** 3].map(bytesText), ["0 B", "1023 B", "1.0 KiB", "3.0 MiB", "5.0 GiB"])
  })

  it("are shown whole, also those that this version does not know", () =>
    assert.deepStrictEqual(
      allFields({ a: 1, atMs: Date.UTC(2026, 0, 1), runMsMax: 5, lifeMs: 5_000, inner: { list: [], names: ["x", "y"], none: null }, facts: [{ b: 2 }] }),
      [["a", "1"], ["atMs", "2026-01-01T00:00:00.000Z"], ["runMsMax", "5"], ["lifeMs", "5000"], ["inner.list", "none"], ["inner.names", "x, y"], ["inner.none", "-"], ["facts", "{\"b\":2}"]]
    ))
})

describe("a refusal", () => {
  const missing = { action: "job.submit", resource: "workspace/main", limit: "gpusMax", needs: "8", has: "1", narrowedBy: "grt_1" }
  const refused = new Trouble({ code: "capability_missing", what: "no", where: "here", remedy: "ask", ending: "forbidden", missing })

  it("names the missing capability, for people and for programs", () => {
    assert.strictEqual(missingText(missing), "job.submit on workspace/main (gpusMax: needs 8, has 1), narrowed by grt_1")
    assert.include(troubleText(refused), `  missing: ${missingText(missing)}\n`)
    assert.deepStrictEqual(JSON.parse(troubleJson(refused)), { error: { code: "capability_missing", what: "no", where: "here", remedy: "ask", missing } })
  })
})
