/** Filters and their operators, as the description of `search offers` has them. */
const operators: Readonly<Record<string, (has: unknown, wants: unknown) => boolean>> = {
  eq: (has, wants) => has === wants,
  neq: (has, wants) => has !== wants,
  gt: (has, wants) => Number(has) > Number(wants),
  gte: (has, wants) => Number(has) >= Number(wants),
  lt: (has, wants) => Number(has) < Number(wants),
  lte: (has, wants) => Number(has) <= Number(wants),
  in: (has, wants) => Array.isArray(wants) && wants.includes(has),
  nin: (has, wants) => Array.isArray(wants) && !wants.includes(has),
  notin: (has, wants) => Array.isArray(wants) && !wants.includes(has)
}

const types = ["on-demand", "bid", "reserved"]
/** What is no filter. */
const others = ["type", "limit", "order", "allocated_storage", "disable_bundling", "select_cols"]

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value)

/** What the vendor filters by when nothing is said. */
const usual: Fields = { verified: { eq: true }, rentable: { eq: true }, rented: { eq: false } }

/** The first part of a search that the description does not allow. `row`: any offer, whose fields can be filtered by. */
export const malformedSearch = (query: Fields, row: Fields): string | undefined => {
  const { allocated_storage: storage, limit, order = [], type = "on-demand" } = query
  if (!types.includes(type as string)) return `type: ${JSON.stringify(type)} is none of ${types.join(", ")}`
  if (limit !== undefined && !Number.isInteger(limit)) return "limit is no integer"
  if (storage !== undefined && typeof storage !== "number") return "allocated_storage is no number"
  if (!Array.isArray(order) || order.some((by: unknown) => !Array.isArray(by) || by.length !== 2 || !(String(by[0]) in row) || !["asc", "desc"].includes(by[1] as string))) return "order"
  for (const [name, filter] of Object.entries(query)) {
    if (others.includes(name)) continue
    if (!(name in row)) return `${name} is not a valid search key`
    if (!isFields(filter) || Object.keys(filter).some((operator) => !(operator in operators))) return `${name}: a filter is an object of operators`
  }
  return undefined
}

/** The rows that a search finds, in its order and within its limit. */
export const found = (query: Fields, rows: ReadonlyArray<Fields>): ReadonlyArray<Fields> => {
  const filters = Object.entries({ ...usual, ...query }).filter(([name]) => !others.includes(name)) as ReadonlyArray<[string, Fields]>
  const [by, direction] = ((query["order"] ?? []) as ReadonlyArray<readonly [string, string]>)[0] ?? ["id", "asc"]
  const sign = direction === "desc" ? -1 : 1
  return rows
    .filter((row) => filters.every(([name, filter]) => Object.entries(filter).every(([operator, wants]) => operators[operator]!(row[name], wants))))
    .sort((a, b) => sign * (Number(a[by]) - Number(b[by])) || Number(a["id"]) - Number(b["id"]))
    .slice(0, Number(query["limit"] ?? 64))
}
