import { DateTime, Option, Result, Schema } from "effect"
import type { Kind, Theirs } from "./bill.ts"

/** A bill cannot be read as one. */
export class BillMalformed extends Schema.TaggedError<BillMalformed>()("BillMalformed", { where: Schema.String, detail: Schema.String }) {
  override get message() {
    return `${this.where}: ${this.detail}. Write it with the columns machine, from, until and amount, or take a cost and usage report of AWS as CSV`
  }
}

const rowsMax = 2_000_000

/**
 * The lines of a bill from CSV with a head (RFC 4180), in one of two forms:
 *
 * - `machine,from,until,amount`, and where told `of` and `currency`: times as ISO 8601, amounts in dollars, `of` what it is for
 *   if not for the machine's time (`disk`, `traffic`, `tax`, `credit`, `other`);
 * - a cost and usage report of AWS, legacy or 2.0 (columns `lineItem/ResourceId` or `line_item_resource_id`, and so on; Data Exports user
 *   guide, 2026). Its times are whole hours, so a machine's time is taken from the usage amount.
 *
 * Amounts are exact to the pico-dollar. Other currencies than dollars are refused, not guessed.
 */
export const billIn = (text: string): Result.Result<ReadonlyArray<Theirs>, BillMalformed> => {
  const cells = csvIn(text)
  if (cells === undefined) return malformed("a cell", "a quote is not closed, or stands within a cell that has none around it")
  const [head, ...rows] = cells
  const columns = new Map((head ?? []).map((name, at) => [wordsOf(name), at]))
  const read = columns.has("line_item_resource_id") ? reported : ["machine", "from", "until", "amount"].every((name) => columns.has(name)) ? plain : undefined
  if (read === undefined) return malformed("line 1", "these are no columns of a bill")
  if (rows.length > rowsMax) return malformed(`line ${rowsMax}`, "it goes on past what is read at once")
  const lines: Array<Theirs> = []
  for (const [at, row] of rows.entries()) {
    if (row.length === 1 && row[0] === "") continue
    const line = read((name) => row[columns.get(name) ?? -1] ?? "")
    if (typeof line === "string") return malformed(`line ${at + 2}`, line)
    lines.push(line)
  }
  return Result.succeed(lines)
}

const malformed = (where: string, detail: string) => Result.fail(new BillMalformed({ where, detail }))

/** `lineItem/UsageStartDate` and `line_item_usage_start_date` are one name. */
const wordsOf = (name: string): string => name.trim().replace(/^\uFEFF/u, "").replaceAll("/", "_").replace(/([a-z])([A-Z])/gu, "$1_$2").toLowerCase()

type Cell = (name: string) => string

/** In ms since 1970; not a number where the text is no time. */
const timeOf = (text: string): number => Option.getOrElse(Option.map(DateTime.make(text), DateTime.toEpochMillis), () => Number.NaN)

const kinds: ReadonlyArray<Kind> = ["disk", "traffic", "tax", "credit", "other"]

const plain = (cell: Cell): Theirs | string => {
  const [fromMs, untilMs, amountPico] = [timeOf(cell("from")), timeOf(cell("until")), picoOf(cell("amount"))]
  if (Number.isNaN(fromMs) || Number.isNaN(untilMs) || untilMs < fromMs) return `${cell("from")} to ${cell("until")} is no period`
  if (amountPico === undefined) return `${cell("amount")} is no amount in dollars`
  if (!["", "USD"].includes(cell("currency"))) return `${cell("currency")} are no dollars`
  const of = kinds.find((one) => one === cell("of"))
  if (of === undefined && cell("of") !== "") return `${cell("of")} is none of ${kinds.join(", ")}`
  return { machine: cell("machine") || "none", fromMs, untilMs, amountPico, ...(of === undefined ? {} : { of }) }
}

const hourMs = 3_600_000

const reported = (cell: Cell): Theirs | string => {
  const [fromMs, untilMs] = [timeOf(cell("line_item_usage_start_date")), timeOf(cell("line_item_usage_end_date"))]
  const amountPico = picoOf(cell("line_item_unblended_cost"))
  if (Number.isNaN(fromMs) || Number.isNaN(untilMs)) return `${cell("line_item_usage_start_date")} is no time`
  if (amountPico === undefined) return `${cell("line_item_unblended_cost")} is no amount in dollars`
  if (!["", "USD"].includes(cell("line_item_currency_code"))) return `${cell("line_item_currency_code")} are no dollars`
  const machine = cell("line_item_resource_id").replace(/^arn:[^/]*\//u, "") || "none"
  const of = kindOf(cell, machine)
  const hours = Number(cell("line_item_usage_amount") || Number.NaN)
  return { machine, fromMs, untilMs, amountPico, ...(of === undefined ? { ...(Number.isFinite(hours) ? { usedMs: Math.round(hours * hourMs) } : {}) } : { of }) }
}

/** What a line of a report is for; undefined: a machine's time. */
const kindOf = (cell: Cell, machine: string): Kind | undefined => {
  const usage = cell("line_item_usage_type")
  switch (cell("line_item_line_item_type")) {
    case "Tax":
      return "tax"
    case "Credit":
    case "Refund":
    case "EdpDiscount":
    case "BundledDiscount":
    case "Discount":
      return "credit"
  }
  if (/^(vol|snap)-/u.test(machine) || /EBS:/u.test(usage)) return "disk"
  if (/Bytes|NatGateway|PublicIPv4|ElasticIP/u.test(usage)) return "traffic"
  return machine.startsWith("i-") && /(Box|Spot|Host)Usage|^$/u.test(usage) ? undefined : "other"
}

/** Dollars as text, exact: `0.0104`, `-3`, `1.5E-7`. Beyond the twelfth decimal it is cut off. */
const picoOf = (text: string): bigint | undefined => {
  const [, sign, whole = "", part = "", exponent = "0"] = /^\s*([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,3}))?\s*$/u.exec(text) ?? []
  if (sign === undefined || whole + part === "") return undefined
  const shift = 12 + Number(exponent) - part.length
  const digits = BigInt(whole + part)
  const pico = shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift)
  return sign === "-" ? -pico : pico
}

/** Rows of cells: commas, line ends of either kind, cells in quotes with doubled quotes within. */
const csvIn = (text: string): ReadonlyArray<ReadonlyArray<string>> | undefined => {
  const rows: Array<Array<string>> = []
  let row: Array<string> = []
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/yu
  for (let from = 0; from < text.length;) {
    cells.lastIndex = from
    const found = cells.exec(text)
    if (found === null) return undefined
    row.push(found[1] === undefined ? found[2] ?? "" : found[1].replaceAll('""', '"'))
    from = cells.lastIndex
    if (found[3] === ",") continue
    rows.push(row)
    row = []
    if (found[3] === "") return rows
  }
  return row.length === 0 ? rows : [...rows, [...row, ""]]
}
