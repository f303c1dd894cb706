/** A row of a table, by the names of its columns in lower case. */
export type Row = Readonly<Record<string, string>>

/**
 * Reads a table as people keep them: CSV with a header line (quotes, commas or semicolons or tabs), JSON lines, or one JSON list. Lists within
 * JSON become text with `|` between. A row that is no row is left out.
 */
export const readTable = (text: string): ReadonlyArray<Row> => {
  const clean = text.replace(/^\uFEFF/u, "").trim()
  if (clean === "") return []
  return clean.startsWith("[") || clean.startsWith("{") ? readJson(clean) : readCsv(clean)
}

const readJson = (text: string): ReadonlyArray<Row> => {
  const items: ReadonlyArray<unknown> = text.startsWith("[")
    ? JSON.parse(text) as ReadonlyArray<unknown>
    : text.split(/\r?\n/u).filter((line) => line.trim() !== "").map((line) => JSON.parse(line) as unknown)
  return items.filter((item): item is object => typeof item === "object" && item !== null).map((item) =>
    Object.fromEntries(Object.entries(item).map(([name, value]) => [name.toLowerCase(), inWords(value)])))
}

const inWords = (value: unknown): string => (Array.isArray(value) ? value.map(String).join("|") : value === null || value === undefined ? "" : String(value))

const readCsv = (text: string): ReadonlyArray<Row> => {
  const [head = "", ...lines] = text.split(/\r?\n/u).filter((line) => line.trim() !== "" && !line.startsWith("#"))
  const between = [",", ";", "\t"].reduce((best, mark) => (head.split(mark).length > head.split(best).length ? mark : best))
  const names = cells(head, between).map((name) => name.trim().toLowerCase())
  return lines.map((line) => {
    const values = cells(line, between)
    return Object.fromEntries(names.map((name, at) => [name, (values[at] ?? "").trim()]))
  })
}

const cells = (line: string, between: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let cell = ""
  let quoted = false
  for (let at = 0; at < line.length; at += 1) {
    const mark = line[at]!
    if (quoted && mark === '"' && line[at + 1] === '"') {
      cell += '"'
      at += 1
    } else if (mark === '"') quoted = !quoted
    else if (mark === between && !quoted) {
      found.push(cell)
      cell = ""
    } else cell += mark
  }
  return [...found, cell]
}

/** The first of some names that a row has something under. */
export const cell = (row: Row, ...names: ReadonlyArray<string>): string => names.map((name) => row[name] ?? "").find((value) => value !== "") ?? ""

/** A number, with whatever people write around it: "$1,204.50". Undefined: there is none. */
export const amount = (text: string): number | undefined => {
  const plain = text.replaceAll(/[$€£,\s_]/gu, "")
  const value = plain === "" ? Number.NaN : Number(plain)
  return Number.isFinite(value) ? value : undefined
}

export const listed = (text: string): ReadonlyArray<string> => text.split(/[|;]/u).map((part) => part.trim()).filter((part) => part !== "" && part !== "*")

export const yes = (text: string): boolean => /^(1|y|yes|t|true|ok|spot)$/iu.test(text.trim())
