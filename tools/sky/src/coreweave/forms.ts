import type { Wrong } from "./status.ts"

type Fields = Readonly<Record<string, unknown>>

/** What a field may hold. An object's fields that are not named are unknown: the API drops them, and warns. */
export type Form =
  | { readonly is: "text" | "whole" | "yes or no" | "anything" }
  | { readonly is: "one of"; readonly of: ReadonlyArray<string> }
  | { readonly is: "texts" }
  | { readonly is: "list"; readonly of: Form }
  | { readonly is: "object"; readonly fields: Readonly<Record<string, Form>>; readonly required?: ReadonlyArray<string> }

export const text: Form = { is: "text" }
export const whole: Form = { is: "whole" }
export const yesOrNo: Form = { is: "yes or no" }
export const texts: Form = { is: "texts" }
export const anything: Form = { is: "anything" }
export const oneOf = (...of: ReadonlyArray<string>): Form => ({ is: "one of", of })
export const listOf = (of: Form): Form => ({ is: "list", of })
export const object = (fields: Readonly<Record<string, Form>>, ...required: ReadonlyArray<string>): Form => ({ is: "object", fields, required })

/** What is left of a value when unknown fields are dropped, and what was wrong with it. */
export interface Read {
  readonly value: unknown
  readonly unknown: ReadonlyArray<string>
  readonly wrongs: ReadonlyArray<Wrong>
}

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value)
const isTexts = (value: unknown): value is Readonly<Record<string, string>> => isFields(value) && Object.values(value).every((one) => typeof one === "string")

const sound = (value: unknown): Read => ({ value, unknown: [], wrongs: [] })
const unsound = (value: unknown, field: string, message: string, reason: Wrong["reason"] = "FieldValueInvalid"): Read => ({ value, unknown: [], wrongs: [{ field, reason, message }] })

/** Holds a value up to a form. */
export const read = (form: Form, value: unknown, field: string): Read => {
  switch (form.is) {
    case "anything":
      return sound(value)
    case "text":
      return typeof value === "string" ? sound(value) : unsound(value, field, "Invalid value: must be of type string")
    case "whole":
      return Number.isSafeInteger(value) ? sound(value) : unsound(value, field, "Invalid value: must be of type integer")
    case "yes or no":
      return typeof value === "boolean" ? sound(value) : unsound(value, field, "Invalid value: must be of type boolean")
    case "texts":
      return isTexts(value) ? sound(value) : unsound(value, field, "Invalid value: must be a map of strings")
    case "one of":
      return typeof value === "string" && form.of.includes(value) ? sound(value) : unsound(value, field, `Unsupported value: ${JSON.stringify(value)}: supported values: ${form.of.map((one) => `"${one}"`).join(", ")}`, "FieldValueNotSupported")
    case "list": {
      if (!Array.isArray(value)) return unsound(value, field, "Invalid value: must be of type array")
      const items = value.map((one, at) => read(form.of, one, `${field}[${at}]`))
      return { value: items.map((one) => one.value), unknown: items.flatMap((one) => one.unknown), wrongs: items.flatMap((one) => one.wrongs) }
    }
    case "object":
      return readFields(form, value, field)
  }
}

const readFields = ({ fields, required = [] }: Extract<Form, { is: "object" }>, value: unknown, field: string): Read => {
  if (!isFields(value)) return unsound(value, field, "Invalid value: must be of type object")
  const at = (name: string) => (field === "" ? name : `${field}.${name}`)
  const missing = required.filter((name) => value[name] === undefined).map((name): Wrong => ({ field: at(name), reason: "FieldValueRequired", message: "Required value" }))
  const given = Object.entries(value).filter(([, one]) => one !== undefined && one !== null)
  const known = given.flatMap(([name, one]) => (fields[name] === undefined ? [] : [[name, read(fields[name], one, at(name))] as const]))
  return {
    value: Object.fromEntries(known.map(([name, one]) => [name, one.value])),
    unknown: [...given.filter(([name]) => fields[name] === undefined).map(([name]) => at(name)), ...known.flatMap(([, one]) => one.unknown)],
    wrongs: [...missing, ...known.flatMap(([, one]) => one.wrongs)]
  }
}

const part = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/u
const labelPart = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/u

/** "A lowercase RFC 1123 subdomain": at most 253 characters, parts of letters, digits and dashes. */
export const wrongName = (name: string): string | undefined =>
  name.length <= 253 && name.split(".").every((one) => part.test(one)) ? undefined
    : "Invalid value: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"

const wrongKey = (key: string): boolean => {
  const [name = "", prefix, ...rest] = key.split("/").reverse()
  return rest.length > 0 || name === "" || name.length > 63 || !labelPart.test(name) || (prefix !== undefined && wrongName(prefix) !== undefined)
}

/** Labels have keys of a form and values of at most 63 characters. */
export const wrongLabels = (labels: unknown, field: string): ReadonlyArray<Wrong> =>
  !isTexts(labels) ? [] : Object.entries(labels).flatMap(([key, value]): ReadonlyArray<Wrong> => [
    ...(wrongKey(key) ? [{ field, reason: "FieldValueInvalid" as const, message: `Invalid value: "${key}": name part must consist of alphanumeric characters, '-', '_' or '.'` }] : []),
    ...(value.length > 63 ? [{ field, reason: "FieldValueInvalid" as const, message: `Invalid value: "${value}": must be no more than 63 characters` }]
      : labelPart.test(value) ? [] : [{ field, reason: "FieldValueInvalid" as const, message: `Invalid value: "${value}": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'` }])
  ])
