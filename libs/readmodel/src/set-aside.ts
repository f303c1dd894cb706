import type { Fact, StoredCommit, StoredFact } from "@millrace/journal"
import { type FactSetAside, FactUnreadable, subjectText } from "@millrace/schemas"
import { sql } from "kysely"
import type { AnyTransaction } from "./database.ts"
import type { Edition } from "./edition.ts"
import { reasonOf } from "./failure.ts"
import type { Projection } from "./projection.ts"

/** A fact that a projection could not take in, as it is kept aside. Its bytes stay in the log. */
export interface Aside {
  readonly projection: string
  readonly version: number
  readonly epoch: number
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
  readonly name: string
  /** `unreadable`: the catalogue here does not know it. `apply_failed`: the projection failed over it. */
  readonly reason: "unreadable" | "apply_failed"
  /** What went wrong, for whoever mends it. May quote values, so it stays in Postgres. */
  readonly detail: string
  /** What surrounded it in the log. */
  readonly headers: Readonly<Record<string, string | number>>
  readonly storedAtMs: number
}

/** The fact to be said about it. It quotes nothing of the fact itself. */
export const asideFact = ({ name, ordinal, projection, reason, sequence, stream }: Aside): FactSetAside =>
  ({ _tag: "FactSetAside", reader: projection, stream, sequence, ordinal, factName: name, reason })

/** What its fact's id derives from: saying it twice says it once. */
export const asideIdentity = ({ epoch, ordinal, projection, sequence, stream }: Aside): ReadonlyArray<string | number> =>
  ["set aside", projection, epoch, stream, sequence, ordinal]

export const asideOf = (
  { name: projection, version }: Projection,
  { epoch }: Edition,
  commit: StoredCommit,
  fact: Pick<StoredFact, "id" | "name" | "version" | "ordinal" | "partOf" | "causedBy" | "grant">,
  cause: unknown
): Aside => ({
  projection,
  version,
  epoch,
  stream: commit.place.stream,
  sequence: commit.place.sequence,
  ordinal: fact.ordinal,
  name: storable(fact.name),
  reason: cause instanceof FactUnreadable ? "unreadable" : "apply_failed",
  detail: storable(cause instanceof FactUnreadable ? cause.reason : detailOf(cause)),
  storedAtMs: commit.place.storedAtMs,
  headers: headersOf(commit, fact)
})

export const asideOfFact = (projection: Projection, edition: Edition, fact: Fact, cause: unknown): Aside =>
  asideOf(projection, edition, fact.commit, fact, cause)

const detailOf = (cause: unknown): string => {
  const { detail, state } = reasonOf(cause)
  return state === undefined ? detail : `${state}: ${detail}`
}

const headersOf = (commit: StoredCommit, fact: Pick<StoredFact, "id" | "version" | "partOf" | "causedBy" | "grant">) => {
  const headers: Record<string, string | number> = { happenedAtMs: commit.happenedAtMs, version: fact.version }
  const texts = { id: fact.id, subject: subjectText(commit.subject), actor: commit.actor, partOf: fact.partOf, causedBy: fact.causedBy, grant: fact.grant }
  for (const [name, text] of Object.entries(texts)) if (text !== undefined) headers[name] = storable(text)
  return headers
}

/** Postgres stores neither NUL nor half a surrogate pair; an aside must be storable whatever it quotes. */
const storable = (text: string): string => text.replaceAll("\0", "\u{fffd}").toWellFormed().slice(0, 1000)

/** Keeps them, in the transaction that goes on past them. */
export const keepAside = async (tx: AnyTransaction, asides: ReadonlyArray<Aside>): Promise<void> => {
  for (const aside of asides) {
    await sql`insert into millrace.set_aside (projection, version, epoch, stream, sequence, ordinal, name, reason, detail, headers, stored_at_ms)
      values (${aside.projection}, ${aside.version}, ${aside.epoch}, ${aside.stream}, ${aside.sequence}, ${aside.ordinal},
        ${aside.name}, ${aside.reason}, ${aside.detail}, ${JSON.stringify(aside.headers)}::text::jsonb, ${aside.storedAtMs})
      on conflict do nothing`.execute(tx)
  }
}

const selectAsides = sql<Aside>`select projection, version, epoch, stream, sequence, ordinal, name, reason, detail, headers,
  stored_at_ms as "storedAtMs" from millrace.set_aside`

/** What an edition has set aside, oldest first within each stream, at most `limit`. */
export const asidesIn = async (tx: AnyTransaction, projection: string, { epoch, version }: Edition, limit: number): Promise<ReadonlyArray<Aside>> =>
  (await sql<Aside>`${selectAsides} where projection = ${projection} and version = ${version} and epoch = ${epoch}
    order by stream, sequence, ordinal limit ${limit}`.execute(tx)).rows

/** Those that nobody has been told of yet. */
export const untold = async (tx: AnyTransaction, projection: string, { epoch, version }: Edition): Promise<ReadonlyArray<Aside>> =>
  (await sql<Aside>`${selectAsides} where projection = ${projection} and version = ${version} and epoch = ${epoch} and not told
    order by stream, sequence, ordinal limit 100`.execute(tx)).rows

export const markTold = async (tx: AnyTransaction, { epoch, ordinal, projection, sequence, stream, version }: Aside): Promise<void> => {
  await sql`update millrace.set_aside set told = true where projection = ${projection} and version = ${version}
    and epoch = ${epoch} and stream = ${stream} and sequence = ${sequence} and ordinal = ${ordinal}`.execute(tx)
}
