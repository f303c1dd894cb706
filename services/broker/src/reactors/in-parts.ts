/** So many rows lie in one fact at most: a few hundred kilobytes, where the log takes some megabytes at once. */
export const rowsPerFactMax = 1_000

/** Rows cut into what comes before, and what the fact that ends the list holds itself. */
export const inParts = <Row>(rows: ReadonlyArray<Row>, most = rowsPerFactMax): { readonly before: ReadonlyArray<ReadonlyArray<Row>>; readonly last: ReadonlyArray<Row> } => {
  const parts: Array<ReadonlyArray<Row>> = []
  for (let from = 0; from < rows.length; from += most) parts.push(rows.slice(from, from + most))
  return { before: parts.slice(0, -1), last: parts.at(-1) ?? [] }
}
