import type { Digest, Price, PriceBook, WorkspaceName } from "@millrace/schemas"
import { hash } from "node:crypto"

/**
 * Every price book that was published, oldest effect first. A plain value: it may be kept in a checkpoint,
 * and the same books in another order of publishing are the same value.
 */
export type PriceBooks = ReadonlyArray<PriceBook>

/** No book is known: nothing can be priced. */
export const noBooks: PriceBooks = []

/** What things cost in one workspace at one moment, and by which books: `standard/3`, or `standard/3+acme/1`. */
export interface Rates {
  readonly name: string
  readonly prices: ReadonlyArray<Price>
}

/** The books with one more. A book that is known already (by its name, version, side and whom it is for) changes nothing. */
export const publish = (books: PriceBooks, book: PriceBook): PriceBooks =>
  books.some((known) => keyOf(known) === keyOf(book)) ? books : [...books, book].sort(inEffectOrder)

/**
 * What a workspace is charged at a moment: the newest book for everybody that is in effect then, with the
 * prices agreed with the workspace in place of those of the same SKU. Undefined before the first book.
 */
export const ratesAt = (books: PriceBooks, { atMs, workspace }: { readonly workspace: WorkspaceName; readonly atMs: number }): Rates | undefined => {
  const inEffect = books.filter((book) => book.side === "sell" && book.effectiveFromMs <= atMs)
  const base = inEffect.findLast((book) => book.workspace === undefined)
  const agreed = inEffect.findLast((book) => book.workspace === workspace)
  if (agreed === undefined) return base === undefined ? undefined : { name: nameOf(base), prices: base.prices }
  if (base === undefined) return { name: nameOf(agreed), prices: agreed.prices }
  const skus = new Set(agreed.prices.map(({ sku }) => sku))
  return {
    name: `${nameOf(base)}+${nameOf(agreed)}`,
    prices: [...base.prices.filter(({ sku }) => !skus.has(sku)), ...agreed.prices]
  }
}

/** The moments in `[fromMs, toMs)`, after `fromMs`, at which a workspace's rates become others, in order. */
export const rateChanges = (
  books: PriceBooks,
  { fromMs, toMs, workspace }: { readonly workspace: WorkspaceName; readonly fromMs: number; readonly toMs: number }
): ReadonlyArray<number> => {
  const moments = books
    .filter((book) => book.side === "sell" && (book.workspace === undefined || book.workspace === workspace))
    .map(({ effectiveFromMs }) => effectiveFromMs)
    .filter((atMs) => atMs > fromMs && atMs < toMs)
  return [...new Set(moments)].sort((left, right) => left - right)
}

/** SHA-256 over the book's canonical form: JSON with sorted keys, amounts as decimal strings, no spaces. */
export const digestOfBook = (book: PriceBook): Digest => `sha256:${hash("sha256", canonicalText(book), "hex")}` as Digest

const nameOf = ({ book, version }: PriceBook): string => `${book}/${version}`

const keyOf = ({ book, provider, side, version, workspace }: PriceBook): string =>
  [side, book, version, provider ?? "", workspace ?? ""].join("|")

const inEffectOrder = (left: PriceBook, right: PriceBook): number =>
  left.effectiveFromMs - right.effectiveFromMs || left.version - right.version || (keyOf(left) < keyOf(right) ? -1 : 1)

const canonicalText = (value: unknown): string => {
  if (typeof value === "bigint") return `"${value}"`
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).filter(([, held]) => held !== undefined).sort(([left], [right]) => (left < right ? -1 : 1))
  return `{${entries.map(([key, held]) => `${JSON.stringify(key)}:${canonicalText(held)}`).join(",")}}`
}
