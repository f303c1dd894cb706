import { assert, describe, it } from "@effect/vitest"
import { filterOf, type Kind, kinds, nameOf, versions } from "@millrace/schemas"
import { Ajv2020 } from "ajv/dist/2020.js"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parse } from "yaml"
import { addressOf, channelOf } from "../src/asyncapi.ts"
import { docstrings, firstSentence } from "../src/docstrings.ts"
import { differences, docstringsIn, documents, filesBelow } from "../src/documents.ts"
import { bodySchemaOf, type JsonSchema } from "../src/json-schema.ts"
import { type Sample, sampleName } from "../src/samples.ts"
import { versionedFacts } from "../src/shapes.ts"

const room = join(import.meta.dirname, "../../../schemas")
const docs = docstringsIn(join(room, "src"))
const wanted = documents(docs)
const all: ReadonlyArray<Kind> = kinds

interface AsyncApi {
  readonly asyncapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly channels: Record<string, {
    readonly address: string
    readonly parameters?: Record<string, unknown>
    readonly messages: Record<string, { readonly $ref: string }>
  }>
  readonly operations: Record<string, {
    readonly action: string
    readonly channel: { readonly $ref: string }
    readonly bindings: { readonly nats: unknown }
    readonly messages: ReadonlyArray<{ readonly $ref: string }>
  }>
  readonly components: {
    readonly messages: Record<string, { readonly summary: string; readonly headers: { readonly $ref: string }; readonly payload: { readonly $ref: string } }>
    readonly schemas: Record<string, JsonSchema>
  }
}

describe("the generated documents", () => {
  it("are what today's schemas say (else: npm run schemas)", () => {
    assert.deepStrictEqual(differences(wanted, filesBelow(join(room, "generated"))), [])
  })

  it("are found out of date when one is changed, missing or left over", () => {
    const found = new Map(wanted)
    found.set("CATALOGUE.md", `${wanted.get("CATALOGUE.md")?.replace("Millrace", "Somebody")}`)
    found.delete("asyncapi.yaml")
    found.set("json-schema/Gone.v1.json", "{}")
    assert.deepStrictEqual(differences(wanted, found), [
      "CATALOGUE.md differs from line 3 on",
      "asyncapi.yaml is missing",
      "json-schema/Gone.v1.json belongs to no fact"
    ])
  })
})

describe("docstrings", () => {
  it("every fact has one, and its first sentence says what is true from then on", () => {
    for (const { name } of versionedFacts()) assert.match(firstSentence(docs.of(name) ?? ""), /^[A-Z].*[.]$/u, name)
  })

  it("are read from above a const and from inside its struct, and nothing else is", () => {
    const read = docstrings([`
/** One. Two. */
export const Fact = Schema.TaggedStruct("Fact", {
  /** Why
   * this field. */
  field: Schema.Int
})
export type Fact = typeof Fact.Type

// not a docstring
export const Bare = 1
`])
    assert.strictEqual(firstSentence(read.of("Fact") ?? ""), "One.")
    assert.strictEqual(read.field("Fact", "field"), "Why this field.")
    assert.isUndefined(read.of("Bare"))
  })
})

describe("JSON Schema", () => {
  const ajv = new Ajv2020({ strict: true, allErrors: true })

  it("accepts every sample, and refuses it without its first field or with a foreign id", () => {
    for (const { name, version } of versionedFacts()) {
      const validate = ajv.compile(JSON.parse(wanted.get(`json-schema/${name}.v${version}.json`) ?? "null") as object)
      const { body } = JSON.parse(readFileSync(join(room, "samples", sampleName(name, version)), "utf8")) as Sample
      assert.isTrue(validate(body), `${name}: ${ajv.errorsText(validate.errors)}`)
      const required = (validate.schema as JsonSchema).required?.[0]
      if (required === undefined) assert.fail(`${name} requires nothing`)
      const { [required]: _, ...rest } = body
      assert.isFalse(validate(rest), `${name} without ${required}`)
      const id = Object.keys(body).find((field) => /^[a-z]{3}_[0-9A-Z]{26}$/u.test(String(body[field])))
      if (id !== undefined) assert.isFalse(validate({ ...body, [id]: "../../etc" }), `${name} with a wrong ${id}`)
    }
  })

  it("keeps the pattern of every id, name, digest and amount: one without the u flag would vanish", () => {
    const bare: Array<string> = []
    const walk = (schema: JsonSchema, path: string): void => {
      const field = path.slice(path.lastIndexOf(".") + 1)
      if (schema.type === "string" && /(Id|Ids|Pico|Digest)$|^(digest|workspace|provider|grant|tree|parent|account|slice|answers|causedBy)$/u.test(field)) {
        if (schema.pattern === undefined && !unpatterned.has(field)) bare.push(path)
      }
      for (const [name, child] of Object.entries(schema.properties ?? {})) walk(child, `${path}.${name}`)
      if (schema.items !== undefined && schema.items !== false) walk(schema.items, path)
    }
    // Names that others choose: a boot's, a price's, a signing key's; and the one-time key's older field.
    const unpatterned = new Set(["bootId", "eventId", "priceId", "keyId", "revocationId", "oneTimeKeyDigest"])
    for (const { name, schema } of versionedFacts()) walk(bodySchemaOf(schema), name)
    assert.deepStrictEqual(bare, [])
    const jobId = (JSON.parse(wanted.get("json-schema/JobSubmitted.v1.json") ?? "{}") as JsonSchema).properties?.["jobId"]
    assert.strictEqual(jobId?.pattern, "^job_[0-9A-HJKMNP-TV-Z]{26}$")
  })
})

describe("AsyncAPI", () => {
  const api = parse(wanted.get("asyncapi.yaml") ?? "") as AsyncApi

  it("has a channel for each kind, at its address, with all of its parameters", () => {
    assert.match(api.asyncapi, /^3\.[01]\.0$/u)
    assert.isNotEmpty(api.info.title)
    assert.isNotEmpty(api.info.version)
    assert.sameMembers(Object.keys(api.channels), all.map(channelOf))
    assert.strictEqual(new Set(all.map(channelOf)).size, all.length)
    for (const kind of all) {
      const channel = api.channels[channelOf(kind)]
      if (channel === undefined) assert.fail(channelOf(kind))
      assert.strictEqual(channel.address, addressOf(kind))
      assert.strictEqual(channel.address.replaceAll(/\{\w+\}/gu, "*"), filterOf(kind))
      const inBraces = [...channel.address.matchAll(/\{(\w+)\}/gu)].map(([, name]) => name)
      assert.sameMembers(Object.keys(channel.parameters ?? {}), inBraces as Array<string>)
      assert.sameMembers(Object.keys(channel.messages), kind.facts.map(nameOf))
    }
  })

  it("has a message for each fact, and every reference leads somewhere", () => {
    assert.sameMembers(Object.keys(api.components.messages), [...versions.keys()])
    for (const [name, message] of Object.entries(api.components.messages)) {
      assert.isTrue(wanted.has(message.payload.$ref.replace("./", "")), name)
      assert.strictEqual(message.headers.$ref, "#/components/schemas/CommitHeaders")
      assert.isNotEmpty(message.summary)
    }
    const lookUp = (ref: string): unknown =>
      ref.replace("#/", "").split("/").reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], api)
    const refs = (value: unknown): ReadonlyArray<string> =>
      typeof value !== "object" || value === null
        ? []
        : Object.entries(value).flatMap(([key, child]) => (key === "$ref" ? [String(child)] : refs(child)))
    const inside = refs(api).filter((ref) => ref.startsWith("#/"))
    assert.isAbove(inside.length, 200)
    for (const ref of inside) assert.isDefined(lookUp(ref), ref)
  })

  it("lets one service send each channel, over NATS", () => {
    assert.lengthOf(Object.keys(api.operations), all.length)
    for (const [name, operation] of Object.entries(api.operations)) {
      assert.strictEqual(operation.action, "send", name)
      assert.isDefined(operation.bindings.nats, name)
      for (const { $ref } of operation.messages) assert.isTrue($ref.startsWith(`${operation.channel.$ref}/messages/`), name)
    }
  })

  it("describes the headers of a commit so that a real one passes", () => {
    const validate = new Ajv2020({ strict: false }).compile(api.components.schemas["CommitHeaders"] as object)
    const headers = {
      "Mill-Id": "fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D,fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5E",
      "Mill-Fact": "AttemptStarted/1,PhaseEntered/1",
      "Mill-Caused-By": ",fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      "Mill-Part-Of": "fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D,fct_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      "Mill-Actor": "host:hst_01K9ZQ4T7V8W9X0Y1Z2A3B4C5D",
      "Mill-At": "1785000000000",
      "Mill-Prev": "0",
      "Mill-Epoch": "1",
      "Mill-Dict": "32",
      "Mill-Saw": "SCHEDULER=7,ACCESS=2",
      "Mill-Decided": "1785000000000/0/1"
    }
    assert.isTrue(validate(headers), JSON.stringify(validate.errors))
    assert.isFalse(validate({ ...headers, "Mill-Id": "made up" }))
  })
})
