import { dictionary } from "@millrace/schemas"
import { createHash } from "node:crypto"
import { bodySchemaOf } from "./json-schema.ts"
import { exampleOf } from "./sample.ts"
import { versionedFacts } from "./shapes.ts"

/** A fact as it was once written: its envelope and its body, both in their encoded forms. */
export interface Sample {
  readonly envelope: Record<string, unknown> & { readonly name: string; readonly version: number }
  readonly body: Record<string, unknown>
}

/** What was released and must read the same forever: samples by file name, and the dictionary in order. */
export interface Frozen {
  readonly samples: Readonly<Record<string, string>>
  readonly dictionary: ReadonlyArray<string>
}

/** SHA-256 of a text, in hexadecimal. */
export const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex")

/** The file name of a fact's sample. */
export const sampleName = (name: string, version: number): string => `${name}.v${version}.json`

/** A first sample for each fact that has none yet. */
export const missingSamples = (found: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map(
    versionedFacts()
      .filter(({ name, version }) => !found.has(sampleName(name, version)))
      .map(({ name, version, schema }) => [
        sampleName(name, version),
        `${JSON.stringify({ envelope: envelope(name, version), body: exampleOf(bodySchemaOf(schema)) }, null, 2)}\n`
      ])
  )

/**
 * What is frozen when these samples and today's dictionary are released. It only ever adds: something
 * frozen that has changed or gone is named in the error, because facts like it lie in somebody's log.
 */
export const freeze = (before: Frozen, samples: ReadonlyMap<string, string>): Frozen => {
  const broken = brokenPromises(before, samples, dictionary)
  if (broken.length > 0) throw new Error(`Nothing was frozen. ${broken.join("; ")}.`)
  return {
    samples: Object.fromEntries([...samples].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, text]) => [name, digestOf(text)])),
    dictionary: dictionary.map((keys) => digestOf(JSON.stringify(keys)))
  }
}

/** Every way in which today's samples and dictionary go back on what was frozen. None is as it should be. */
export const brokenPromises = (
  frozen: Frozen,
  samples: ReadonlyMap<string, string>,
  today: ReadonlyArray<ReadonlyArray<string>>
): ReadonlyArray<string> => [
  ...Object.entries(frozen.samples).flatMap(([name, digest]) => {
    const text = samples.get(name)
    if (text === undefined) return [`the released sample ${name} is gone`]
    return digestOf(text) === digest ? [] : [`the released sample ${name} was changed: add another version beside it`]
  }),
  ...frozen.dictionary.flatMap((digest, index) => {
    const keys = today[index]
    if (keys === undefined) return [`dictionary entry ${index} is gone`]
    return digestOf(JSON.stringify(keys)) === digest ? [] : [`dictionary entry ${index} was changed: append instead`]
  })
]

const id = (prefix: string) => `${prefix}_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D`

const envelope = (name: string, version: number) => ({
  id: id("fct"),
  name,
  version,
  happenedAtMs: 1_785_000_000_000,
  actor: "service:gateway",
  grant: id("grt"),
  causedBy: id("fct"),
  partOf: id("fct"),
  mustUnderstand: false
})
