/** The parameters of a Query API call: `Filter.1.Value.2` is the second value of the first filter. */
export class Parameters {
  readonly #values: ReadonlyMap<string, string>

  constructor(values: Iterable<readonly [string, string]>) {
    this.#values = new Map(values)
  }

  text(name: string): string | undefined {
    return this.#values.get(name)
  }

  /** Undefined where it is not there, NaN where it is no whole number. */
  number(name: string): number | undefined {
    const text = this.#values.get(name)
    return text === undefined ? undefined : /^-?\d+$/u.test(text) ? Number(text) : Number.NaN
  }

  flag(name: string): boolean {
    return this.#values.get(name) === "true"
  }

  /** `Name.1`, `Name.2` and so on. */
  list(name: string): ReadonlyArray<string> {
    return this.#numbers(name).flatMap((at) => this.#values.get(`${name}.${at}`) ?? [])
  }

  /** What lies under `Name.1.`, under `Name.2.` and so on. */
  structs(name: string): ReadonlyArray<Parameters> {
    return this.#numbers(name).map((at) => this.under(`${name}.${at}`))
  }

  /** What lies under `Name.`. */
  under(name: string): Parameters {
    const prefix = `${name}.`
    return new Parameters([...this.#values].flatMap(([key, value]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), value] as const] : [])))
  }

  #numbers(name: string): ReadonlyArray<number> {
    const found = new Set<number>()
    for (const key of this.#values.keys()) {
      const [, at] = key.startsWith(`${name}.`) ? /^(\d+)(?:\.|$)/u.exec(key.slice(name.length + 1)) ?? [] : []
      if (at !== undefined) found.add(Number(at))
    }
    return [...found].sort((a, b) => a - b)
  }

  /** All of it but some, in one order: two requests are the same if this is. */
  but(...names: ReadonlyArray<string>): string {
    return JSON.stringify([...this.#values].filter(([name]) => !names.includes(name)).sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  get names(): ReadonlyArray<string> {
    return [...this.#values.keys()]
  }
}

/** What an answer says: an element, a list of `item` elements, or nothing. */
export type Xml = string | number | boolean | undefined | ReadonlyArray<Xml> | { readonly [name: string]: Xml }

const escaped = (text: string): string => text.replace(/[&<>"]/gu, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[one] ?? one)

const inner = (value: Xml): string => {
  if (value === undefined) return ""
  if (typeof value !== "object") return escaped(String(value))
  if (Array.isArray(value)) return (value as ReadonlyArray<Xml>).map((one) => `<item>${inner(one)}</item>`).join("")
  return Object.entries(value).map(([name, one]) => (one === undefined ? "" : `<${name}>${inner(one)}</${name}>`)).join("")
}

const declared = '<?xml version="1.0" encoding="UTF-8"?>\n'

/** The body of a success: one element named after the action, in the API's name space. */
export const xmlOf = (action: string, requestId: string, body: Readonly<Record<string, Xml>>): string =>
  `${declared}<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${inner({ requestId, ...body })}</${action}Response>`

/** The body of every error. */
export const errorXml = (code: string, message: string, requestId: string): string =>
  `${declared}<Response><Errors><Error>${inner({ Code: code, Message: message })}</Error></Errors><RequestID>${requestId}</RequestID></Response>`
