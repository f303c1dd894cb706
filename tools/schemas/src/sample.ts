import type { JsonSchema } from "./json-schema.ts"

/**
 * One plausible body for a schema, with every optional field there: the same schema gives the same body.
 * It is a start; whoever adds a fact may put better values into the file before it is frozen.
 */
export const exampleOf = (schema: JsonSchema, field = ""): unknown => {
  if (schema.enum !== undefined) return schema.enum[0]
  if (schema.anyOf?.[0] !== undefined) return exampleOf(schema.anyOf[0], field)
  switch (schema.type) {
    case "integer":
      return exampleNumber(schema, field)
    case "boolean":
      return true
    case "array":
      return schema.items === undefined || schema.items === false ? [] : [exampleOf(schema.items, field)]
    case "object":
      return schema.properties === undefined
        ? exampleMap(schema.additionalProperties, field)
        : Object.fromEntries(Object.entries(schema.properties).map(([name, type]) => [name, exampleOf(type, name)]))
    case "string":
      return exampleText(schema, field)
    default:
      throw new Error(`${field}: there is no example for ${JSON.stringify(schema)}; add one to tools/schemas/src/sample.ts`)
  }
}

const exampleNumber = ({ maximum = Number.MAX_SAFE_INTEGER }: JsonSchema, field: string): number => {
  const number = /(At|Since|From|Until|until|notBefore|due|expires)[A-Za-z]*Ms$|^(untilMs|notBeforeMs)$/u.test(field)
    ? 1_785_000_000_000
    : /Ms(Max|Min)?$/u.test(field) ? 60_000 : /Mib(Max)?$/u.test(field) ? 2_048 : /Milli(Max)?$/u.test(field) ? 1_000 : 2
  return Math.min(number, maximum)
}

const exampleMap = (values: JsonSchema["additionalProperties"], field: string): unknown =>
  typeof values !== "object" ? {} : { [values.type === "integer" ? "SCHEDULER" : "zone"]: exampleOf(values, field) }

const ulid = "01K9ZQ4T7V8W9X0Y1Z2A3B4C5D"

/** Texts by the pattern they must match, most special first. */
const texts: ReadonlyArray<readonly [pattern: RegExp, text: string]> = [
  [/^\^\[A-Za-z_\]/u, "data.state"],
  [/^\^\(workspace\|cohort\)/u, "workspace/acme"],
  [/^\^cohort/u, "cohort/research"],
  [/^\^\(cpuMilli\|/u, "gpuMilli/H100"],
  [/^\^sha256:/u, `sha256:${"0f1e2d3c4b5a6978".repeat(4)}`],
  [/^\^\(user\|agent/u, "agent:reviewer-7"],
  [/^\^-\?\(0\|/u, "1097000000"],
  [/^\^U\[A-Z2-7\]/u, `U${"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".repeat(2).slice(0, 55)}`],
  [/\\\/\[0-9\]\{1,6\}\$$/u, "acme/1"],
  [/^\^\[0-9\]\{4\}-/u, "2026-11"],
  [/^\^\[A-Z\]\{3\}\$/u, "USD"],
  [/^\^\[0-9a-f\]\{16,256\}/u, "00ff".repeat(16)],
  [/^\^\(\\\*\|/u, "sandbox.*"],
  [/\{1,3\}\$$/u, "sandbox.exec"],
  [/\(\\\/\\\*\)\?\$$/u, "workspace/acme/*"],
  [/\{1,9\}\$$/u, "workspace/acme/job"],
  [/^\^\[a-z\]\[a-z0-9-\]\{0,39\}\$$/u, "acme"]
]

const exampleText = ({ pattern }: JsonSchema, field: string): string => {
  if (pattern === undefined) return field === "" ? "text" : `${field} in words`
  const prefix = /^\^([a-z]{3})_\[0-9A-HJKMNP-TV-Z\]/u.exec(pattern)?.[1]
  const text = prefix === undefined ? texts.find(([known]) => known.test(pattern))?.[1] : `${prefix}_${ulid}`
  if (text === undefined || !new RegExp(pattern, "u").test(text)) {
    throw new Error(`${field}: no example matches ${pattern}; add one to tools/schemas/src/sample.ts`)
  }
  return text
}
