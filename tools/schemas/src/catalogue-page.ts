import { type Kind, kinds, nameOf, type StreamName, streamNames, versions } from "@millrace/schemas"
import { addressOf, channelOf, writers } from "./asyncapi.ts"
import { type Docstrings, firstSentence } from "./docstrings.ts"
import { bodySchemaOf, type JsonSchema, namedSchemas, wordFor } from "./json-schema.ts"

/** The catalogue for people: what is told where, by whom, and what each fact holds. */
export const cataloguePage = (docs: Docstrings): string => {
  const told = new Set<string>()
  const parts = [
    "# The catalogue",
    "Every fact that Millrace tells, written by `npm run schemas` from `schemas/src`. Do not edit it here.",
    "A fact's envelope (id, name, version, actor, grant, cause) is in the headers of its commit: see `schemas/src/fact.ts`. "
    + "Fields end in their unit: `Ms` whole milliseconds, `AtMs` ms since 1970 in UTC, `Mib` mebibytes, `Bytes`, `Pico` whole 10^-12 US dollars as a decimal string. "
    + "A field with `?` may be absent.",
    "| kind | subject | stream | written by | one story guarded |\n|---|---|---|---|---|\n" +
    (kinds as ReadonlyArray<Kind>).map((kind) =>
      `| [${channelOf(kind)}](#${channelOf(kind)}) | \`${addressOf(kind)}\` | ${kind.stream} | ${writers[kind.stream]} | ${kind.story === undefined ? "no" : `yes, per ${kind.story}`} |`
    ).join("\n")
  ]
  for (const stream of streamNames) parts.push(...chapter(stream, docs, told))
  parts.push("## Shapes and words", "What the tables above call by a name.")
  for (const [name, schema] of namedSchemas()) {
    parts.push(`**${name}** ${sentence(docs, name)}${detail(name, schema, docs)}`.trim())
  }
  return `${parts.join("\n\n")}\n`
}

const chapter = (stream: StreamName, docs: Docstrings, told: Set<string>): ReadonlyArray<string> => {
  const parts = [`## ${stream}`, `Written by ${writers[stream]} alone.`]
  for (const kind of (kinds as ReadonlyArray<Kind>).filter((kind) => kind.stream === stream)) {
    parts.push(`### ${channelOf(kind)}`, `\`${addressOf(kind)}\``)
    for (const schema of kind.facts) {
      const name = nameOf(schema)
      if (told.has(name)) {
        parts.push(`**${name}/${versions.get(name)}**: as above.`)
        continue
      }
      told.add(name)
      parts.push(`**${name}/${versions.get(name)}** ${docs.of(name) ?? ""}`, table(name, bodySchemaOf(schema), docs))
    }
  }
  return parts
}

const table = (name: string, schema: JsonSchema, docs: Docstrings): string =>
  "| field | holds | |\n|---|---|---|\n" + Object.entries(schema.properties ?? {}).map(([field, type]) =>
    `| ${field}${schema.required?.includes(field) ? "" : "?"} | ${typeText(type, field)} | ${docs.field(name, field) ?? ""} |`
  ).join("\n")

const detail = (name: string, schema: JsonSchema, docs: Docstrings): string =>
  schema.properties === undefined ? ` ${bareText(schema)}` : `\n\n${table(name, schema, docs)}`

const sentence = (docs: Docstrings, name: string): string => {
  const text = docs.of(name)
  return text === undefined ? "" : firstSentence(text)
}

/** A type in a few words: its name in the vocabulary, else what it is made of. */
const typeText = (schema: JsonSchema, field = ""): string => wordFor(schema, field) ?? bareText(schema, field)

const bareText = (schema: JsonSchema, field = ""): string => {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${String(value)}\``).join(" ")
  if (schema.anyOf !== undefined) return schema.anyOf.map((one) => typeText(one, field)).join(" or ")
  switch (schema.type) {
    case "integer":
      return schema.minimum === 0
        ? `whole number${schema.maximum === undefined || schema.maximum === Number.MAX_SAFE_INTEGER ? "" : ` up to ${schema.maximum}`}`
        : "whole number, may be negative"
    case "array":
      return `list of ${schema.items === undefined || schema.items === false ? "values" : typeText(schema.items, field)}`
    case "object":
      if (schema.properties !== undefined) {
        return `{ ${Object.entries(schema.properties).map(([field, type]) => `${field}: ${typeText(type, field)}`).join(", ")} }`
      }
      return `map of ${typeof schema.additionalProperties === "object" ? typeText(schema.additionalProperties) : "values"} by name`
    case "string":
      return schema.pattern === undefined
        ? schema.minLength === undefined ? "text" : "text, not empty"
        : `\`${schema.pattern.replaceAll("|", "\\|")}\``
    default:
      return schema.type ?? "anything"
  }
}
