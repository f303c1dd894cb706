import { sql } from "kysely"
import type { AnyTransaction } from "./database.ts"

/**
 * The tables in which read models keep their own books. They hold positions and what was set aside;
 * nothing in them is a fact, so they can be dropped with the rest and read again.
 *
 * An edition is one build of a projection: its version under one epoch of the journal. Its tables live
 * in a schema of their own, so that an old and a new one stand side by side under the same names.
 */
const BOOKS: ReadonlyArray<string> = [
  `create schema if not exists millrace`,
  `create table if not exists millrace.editions (
    projection text not null,
    version int not null,
    epoch int not null,
    schema text not null unique,
    ready boolean not null default false,
    primary key (projection, version, epoch)
  )`,
  `create table if not exists millrace.positions (
    projection text not null,
    version int not null,
    epoch int not null,
    stream text not null,
    sequence bigint not null,
    primary key (projection, version, epoch, stream),
    foreign key (projection, version, epoch) references millrace.editions on delete cascade
  ) with (fillfactor = 50)`,
  `create table if not exists millrace.set_aside (
    projection text not null,
    version int not null,
    epoch int not null,
    stream text not null,
    sequence bigint not null,
    ordinal int not null,
    name text not null,
    reason text not null,
    detail text not null,
    headers jsonb not null,
    stored_at_ms bigint not null,
    told boolean not null default false,
    primary key (projection, version, epoch, stream, sequence, ordinal),
    foreign key (projection, version, epoch) references millrace.editions on delete cascade
  )`,
  `create index if not exists set_aside_untold on millrace.set_aside (projection) where not told`,
  `create table if not exists millrace.marks (
    epoch int not null,
    stream text not null,
    bucket bigint not null,
    stored_at_ms bigint not null,
    sequence bigint not null,
    primary key (epoch, stream, bucket)
  )`
]

/** Opens the books where there are none yet. One process at a time: `if not exists` alone is a race. */
export const openBooks = async (tx: AnyTransaction): Promise<void> => {
  await sql`select pg_advisory_xact_lock(hashtextextended('millrace.books', 0))`.execute(tx)
  for (const statement of BOOKS) await sql.raw(statement).execute(tx)
}
