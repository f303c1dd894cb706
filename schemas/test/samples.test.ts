import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { join } from "node:path"
import { filesBelow } from "../../tools/schemas/src/documents.ts"
import { brokenPromises, type Frozen, freeze, missingSamples, type Sample, sampleName } from "../../tools/schemas/src/samples.ts"
import { versionedFacts } from "../../tools/schemas/src/shapes.ts"
import { decodeFact, dictionary, encodeFact, Envelope, versions } from "../src/index.ts"

const files = filesBelow(join(import.meta.dirname, "../samples"))
const frozen = JSON.parse(files.get("frozen.json") ?? "null") as Frozen
const samples = new Map([...files].filter(([name]) => name !== "frozen.json"))
const parsed = [...samples].map(([file, text]) => [file, JSON.parse(text) as Sample] as const)

describe("samples of what has been said", () => {
  it("there is one for every version of every fact, and none besides", () => {
    assert.deepStrictEqual([...missingSamples(samples).keys()], [])
    const known = new Set(versionedFacts().map(({ name, version }) => sampleName(name, version)))
    assert.isAbove(known.size, 100)
    assert.deepStrictEqual([...samples.keys()].filter((name) => !known.has(name)), [])
    for (const [file, { envelope }] of parsed) assert.strictEqual(file, sampleName(envelope.name, envelope.version))
  })

  it("each still reads, in the newest shape, under its own name", () => {
    for (const [file, { body, envelope }] of parsed) {
      Schema.decodeUnknownSync(Envelope)(envelope)
      const read = decodeFact(envelope.name, envelope.version, body)
      if (Result.isFailure(read)) assert.fail(`${file}: ${read.failure.message}`)
      assert.strictEqual(read.success._tag, envelope.name)
    }
  })

  it("each of today's versions is written again exactly as it was read", () => {
    for (const [file, { body, envelope }] of parsed) {
      if (versions.get(envelope.name) !== envelope.version) continue
      const written = encodeFact(Result.getOrThrow(decodeFact(envelope.name, envelope.version, body)))
      assert.deepStrictEqual(written, { name: envelope.name, version: envelope.version, body }, file)
      assert.deepStrictEqual(Object.keys(written.body), Object.keys(body), `${file}: the order of keys is the dictionary's`)
    }
  })
})

describe("what is frozen", () => {
  it("still stands: no released sample or dictionary entry has changed or gone", () => {
    assert.isAbove(Object.keys(frozen.samples).length, 100)
    assert.isAbove(frozen.dictionary.length, 0)
    assert.deepStrictEqual(brokenPromises(frozen, samples, dictionary), [])
  })

  it("holds the whole dictionary: an entry is frozen before anybody writes with it (npm run schemas -- --freeze)", () => {
    assert.deepStrictEqual(frozen.dictionary, freeze(frozen, samples).dictionary)
  })

  it("a changed sample, a lost one, and a changed, moved or lost dictionary entry are each named", () => {
    const changed = new Map(samples).set("JobSubmitted.v1.json", "{}")
    assert.deepStrictEqual(brokenPromises(frozen, changed, dictionary), [
      "the released sample JobSubmitted.v1.json was changed: add another version beside it"
    ])
    const lost = new Map(samples)
    lost.delete("JobSettled.v1.json")
    assert.deepStrictEqual(brokenPromises(frozen, lost, dictionary), ["the released sample JobSettled.v1.json is gone"])
    assert.throws(() => freeze(frozen, lost), /Nothing was frozen/u)
    assert.deepStrictEqual(brokenPromises(frozen, samples, dictionary.slice(0, -1)), [`dictionary entry ${dictionary.length - 1} is gone`])
    assert.deepStrictEqual(brokenPromises(frozen, samples, [...dictionary.slice(1, 2), ...dictionary.slice(0, 1), ...dictionary.slice(2)]), [
      "dictionary entry 0 was changed: append instead",
      "dictionary entry 1 was changed: append instead"
    ])
    assert.deepStrictEqual(brokenPromises(frozen, samples, [...dictionary, ["new", "shape"]]), [], "appending breaks nothing")
  })
})
