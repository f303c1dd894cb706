import { Schema } from "effect"
import { Cut } from "./cut.ts"
import { FactId, GrantId, Principal } from "./ids.ts"
import { Count, EpochMillis, Sequence } from "./quantities.ts"

/**
 * What surrounds a fact. The log keeps it in message headers, beside the body, so that it can be read
 * without the dictionary; the names in `headers` are the contract.
 */
export const Envelope = Schema.Struct({
  id: FactId,
  name: Schema.NonEmptyString,
  version: Count,
  /** When it happened, by the writer's clock. Never an order: order is the log's. */
  happenedAtMs: EpochMillis,
  actor: Principal,
  grant: Schema.optionalKey(GrantId),
  /** The fact that this one answers. */
  causedBy: Schema.optionalKey(FactId),
  /** The first fact of the whole story, across services. */
  partOf: FactId,
  /** An older decider must step down rather than ignore it. */
  mustUnderstand: Schema.Boolean
})
export type Envelope = typeof Envelope.Type

/**
 * How the writer came to say it: what it had seen, and by which clock reading it decided. Replay feeds
 * facts up to `saw`, then decides, and demands the same.
 */
export const Decided = Schema.Struct({
  /** The last sequence folded, per stream. */
  saw: Cut,
  decidedAtMs: EpochMillis,
  /** This commit's place among the commits of one decision, from 0, and how many there were. */
  ordinal: Count,
  of: Count
})
export type Decided = typeof Decided.Type

/** Where a commit lies. `prev` is what its writer expected to come before it. */
export const Place = Schema.Struct({
  stream: Schema.NonEmptyString,
  sequence: Sequence,
  prev: Sequence,
  epoch: Count,
  storedAtMs: EpochMillis
})
export type Place = typeof Place.Type

/**
 * The headers of a commit of n facts. Lists are separated by commas and have n entries, in the order of
 * the facts; an entry may be empty.
 *
 * | header | holds |
 * |---|---|
 * | Mill-Id | fact ids |
 * | Mill-Fact | `Name/version` |
 * | Mill-Caused-By, Mill-Part-Of, Mill-Grant | ids, per fact; absent when every entry is empty |
 * | Mill-Actor, Mill-At | who, and when in ms; one for the commit |
 * | Mill-Prev | the sequence expected before it, of the subject or of the stream |
 * | Mill-Epoch | the journal's epoch |
 * | Mill-Dict | entries of the dictionary that a reader needs |
 * | Mill-Must | `1` when an older decider must step down rather than ignore it |
 * | Mill-Saw | `STREAM=sequence`, comma-separated |
 * | Mill-Decided | `ms/ordinal/of` |
 * | traceparent, tracestate | W3C trace context |
 */
export const headers = {
  id: "Mill-Id",
  fact: "Mill-Fact",
  causedBy: "Mill-Caused-By",
  partOf: "Mill-Part-Of",
  grant: "Mill-Grant",
  actor: "Mill-Actor",
  at: "Mill-At",
  prev: "Mill-Prev",
  epoch: "Mill-Epoch",
  dictionary: "Mill-Dict",
  mustUnderstand: "Mill-Must",
  saw: "Mill-Saw",
  decided: "Mill-Decided",
  traceparent: "traceparent",
  tracestate: "tracestate"
} as const
