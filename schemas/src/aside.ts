import { Schema } from "effect"
import { Count, Sequence } from "./quantities.ts"
import { kind, type StreamName } from "./story.ts"

/** A projection met a fact that it cannot read, kept it aside and went on. */
export const FactSetAside = Schema.TaggedStruct("FactSetAside", {
  reader: Schema.NonEmptyString,
  stream: Schema.NonEmptyString,
  sequence: Sequence,
  ordinal: Count,
  factName: Schema.String,
  reason: Schema.String
})
export type FactSetAside = typeof FactSetAside.Type

const aside = <const Stream extends StreamName>(stream: Stream, service: string) =>
  kind({ kind: "aside", scope: "service", only: service, stream }, FactSetAside)

/** What a service's projections could not read lies in that service's own stream. */
export const asideGateway = aside("GATEWAY", "gateway")
export const asideBroker = aside("BROKER", "broker")
export const asideSnapshots = aside("SNAPSHOTS", "snapshots")
export const asideAccess = aside("ACCESS", "access")
export const asideMetering = aside("METERING", "metering")
