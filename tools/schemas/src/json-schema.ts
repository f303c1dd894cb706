import type { FactSchema } from "@millrace/schemas"
import * as vocabulary from "@millrace/schemas"
import { Schema } from "effect"

/** The part of JSON Schema (draft 2020-12) that our schemas come out in. */
export interface JsonSchema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: ReadonlyArray<string>
  readonly enum?: ReadonlyArray<unknown>
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly items?: JsonSchema | false
  readonly prefixItems?: ReadonlyArray<JsonSchema>
  readonly additionalProperties?: JsonSchema | boolean
  readonly anyOf?: ReadonlyArray<JsonSchema>
  readonly allOf?: ReadonlyArray<JsonSchema>
  readonly $ref?: string
}

/** The encoded side of a schema, as JSON Schema. */
export const jsonSchemaOf = (schema: Schema.Top): JsonSchema => {
  const { definitions, schema: json } = Schema.toJsonSchemaDocument(schema)
  if (Object.keys(definitions).length > 0) {
    throw new Error(`${Object.keys(definitions).join(", ")}: shared definitions would need $defs in every document; leave the identifier annotation away`)
  }
  return json as JsonSchema
}

/** A fact's stored body: the fact without its tag, which is a header. */
export const bodySchemaOf = (schema: FactSchema): JsonSchema => {
  const whole = jsonSchemaOf(schema)
  const { _tag: _, ...properties } = whole.properties ?? {}
  return { ...whole, properties, required: (whole.required ?? []).filter((key) => key !== "_tag") }
}

/**
 * What people call a piece of JSON Schema: the name under which schemas/ exports it. Two words that are
 * spelled alike (a workspace's name and a provider's) are told apart by the field they stand in. Whole
 * numbers have no name here, because a number of ms and a number of bytes come out alike; their fields
 * end in the unit.
 */
export const wordFor = (schema: JsonSchema, field = ""): string | undefined => {
  const names = words.get(JSON.stringify(schema))
  const start = field.toLowerCase().replace(/s$/u, "")
  return names?.find((name) => start !== "" && name.toLowerCase().startsWith(start)) ?? names?.[0]
}

/** The named records and strings of the vocabulary, for the page's glossary. */
export const namedSchemas = (): ReadonlyArray<readonly [name: string, schema: JsonSchema]> =>
  // Sorted here, because a module's exports come in another order under another loader.
  Object.entries(vocabulary).sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([name, value]) => {
    if (!Schema.isSchema(value) || typeof value === "function" && "_tag" in (value as object)) return []
    const fields = (value as { fields?: Record<string, unknown> }).fields
    if (fields !== undefined && "_tag" in fields) return []
    const json = jsonSchemaOf(value)
    return json.type === "integer" ? [] : [[name, json] as const]
  })

const words = new Map<string, ReadonlyArray<string>>()
for (const [name, schema] of namedSchemas()) {
  const text = JSON.stringify(schema)
  words.set(text, [...(words.get(text) ?? []), name])
}
