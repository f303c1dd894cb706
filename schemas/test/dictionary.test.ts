import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { Packr } from "msgpackr"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { allShapes, missingShapes, type Shape, shapeText } from "../../tools/schemas/src/shapes.ts"
import type { Sample } from "../../tools/schemas/src/samples.ts"
import { decodeFact, dictionary, encodeFact, type MillFact, streamNames } from "../src/index.ts"

const packer = (entries: ReadonlyArray<Shape>): Packr & { readonly structures: ReadonlyArray<unknown> } =>
  new Packr({
    getStructures: () => entries.map((keys) => [...keys]),
    maxSharedStructures: entries.length,
    maxOwnStructures: 0,
    mapsAsObjects: true
  }) as Packr & { readonly structures: ReadonlyArray<unknown> }

const record = (keys: Shape): Record<string, unknown> => Object.fromEntries(keys.map((key, index) => [key, index]))

/** A body with every keys' record inside the one before it. */
const nested = (shapes: ReadonlyArray<Shape>): ReadonlyArray<Record<string, unknown>> =>
  shapes.map((keys, index) => ({ ...record(keys), [keys[0] as string]: record(shapes[(index + 1) % shapes.length] as Shape) }))

const sample = (name: string): MillFact => {
  const file = join(import.meta.dirname, `../samples/${name}.v1.json`)
  const { body } = JSON.parse(readFileSync(file, "utf8")) as Sample
  return Result.getOrThrow(decodeFact(name, 1, body))
}

/** Today's dictionary, and what it will be when every shape there is has been appended. */
const grown = [...dictionary, ...missingShapes(dictionary)]

describe("the dictionary", () => {
  it("has no entry twice, and each is a record that today's facts can hold", () => {
    assert.strictEqual(new Set(dictionary.map(shapeText)).size, dictionary.length)
    const within = (entry: Shape, shape: Shape) => {
      const places = entry.map((key) => shape.indexOf(key))
      return places.every((place, index) => place >= 0 && (index === 0 || place > (places[index - 1] as number)))
    }
    const shapes: ReadonlyArray<Shape> = [...allShapes(), streamNames]
    for (const entry of dictionary) assert.isTrue(shapes.some((shape) => within(entry, shape)), shapeText(entry))
  })

  it("names everything that a job says from its submission to its bill", () => {
    const missing = new Set(missingShapes(dictionary).map(shapeText))
    for (const name of ["JobSubmitted", "PlacementMade", "AttemptStarted", "JobSettled", "SpendCommitted"]) {
      const { body } = encodeFact(sample(name))
      assert.isFalse(missing.has(shapeText(Object.keys(body))), name)
      const plain = new Packr({ useRecords: false }).pack([body]).length
      assert.isBelow(packer(dictionary).pack([body]).length, plain * 0.75, name)
    }
  })

  it("reads what a shorter one wrote, at every length, across both widths of an entry's number", () => {
    assert.isAbove(grown.length, 150, "both sides of 32, 64 and 128 are walked")
    for (const length of [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, grown.length]) {
      const written = grown.slice(0, length)
      const bodies = nested(written)
      const bytes = packer(written).pack(bodies)
      for (const reader of [written, grown]) assert.deepStrictEqual(packer(reader).unpack(bytes), bodies, `${length} entries`)
    }
  })

  it("never grows: shapes it does not know carry their keys and read without it", () => {
    const writer = packer(dictionary)
    const unknown = { someday: { a: [1, { b: "c" }] }, attempt: 1 }
    const bytes = writer.pack([unknown])
    for (let shape = 0; shape < 1_000; shape++) writer.pack([{ [`key${shape}`]: shape, jobId: { [`inner${shape}`]: 1 } }])
    assert.deepStrictEqual(new Packr({ useRecords: false }).unpack(bytes), [unknown])
    assert.strictEqual(writer.structures.length, dictionary.length)
    assert.deepStrictEqual([...writer.pack([unknown])], [...bytes])
    const known = record(dictionary[0] as Shape)
    assert.deepStrictEqual([...writer.pack([known])], [...packer(dictionary).pack([known])])
  })

  it("writes the same facts in the same bytes, whatever was written before", () => {
    const bodies = ["PlacementMade", "JobSubmitted", "GrantIssued"].map((name) => encodeFact(sample(name)).body)
    const used = packer(dictionary)
    for (const body of bodies.toReversed()) used.pack([body])
    assert.deepStrictEqual([...used.pack(bodies)], [...packer(dictionary).pack(bodies)])
  })

  it("lets no body reach a prototype", () => {
    const hostile = JSON.parse('{"__proto__":{"admin":true},"constructor":{"a":1},"b":2}') as unknown
    const read = packer(dictionary).unpack(packer(dictionary).pack([hostile])) as ReadonlyArray<Record<string, unknown>>
    assert.strictEqual(Object.getPrototypeOf(read[0]), Object.prototype)
    assert.isUndefined(read[0]?.["admin"])
    assert.isUndefined(({} as Record<string, unknown>)["admin"])
  })
})
