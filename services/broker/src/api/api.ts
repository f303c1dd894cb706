import { Authentication, BadRequest, Forbidden, Unavailable, Wellformed } from "@millrace/service"
import { Count, Cut, EpochMillis } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const Pico = Schema.String
const maybe = <S extends Schema.Top>(schema: S) => Schema.NullOr(schema)

/** A cut as it travels in a query (`BROKER=12`), or a moment (`2026-11-22T08:00:00Z`). */
const CutText = Schema.String.pipe(Schema.check(Schema.isPattern(/^([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9})?$/u)))
const AtText = Schema.String.pipe(Schema.check(Schema.isPattern(/^(([A-Z]+=[0-9]{1,15}(,[A-Z]+=[0-9]{1,15}){0,9})|\d{4}-\d{2}-\d{2}T[0-9:.]+(Z|[+-]\d{2}:\d{2}))$/u)))

export const LeaseStands = Schema.Literals(["asked", "refused", "withdrawn", "held", "released", "ended", "orphan"])

export const LeaseView = Schema.Struct({
  leaseId: Schema.String,
  provider: Schema.String,
  stands: LeaseStands,
  machine: maybe(Schema.String),
  machineType: maybe(Schema.String),
  region: maybe(Schema.String),
  gpuModel: maybe(Schema.String),
  hostId: maybe(Schema.String),
  pricePicoPerHour: maybe(Pico),
  requestedAtMs: maybe(EpochMillis),
  sinceMs: maybe(EpochMillis),
  endedAtMs: maybe(EpochMillis),
  costPico: maybe(Pico),
  because: maybe(Schema.String)
})
export type LeaseView = typeof LeaseView.Type

export const OfferView = Schema.Struct({
  provider: Schema.String,
  machineType: Schema.String,
  regions: Schema.Array(Schema.String),
  gpuModel: maybe(Schema.String),
  gpus: Count,
  cpuMilli: Count,
  memoryMib: Count,
  pricePicoPerHour: Pico,
  readAtMs: maybe(EpochMillis)
})

export const CapacityView = Schema.Struct({
  bounds: maybe(Schema.Struct({ machinesMax: Count, spendPicoPerHourMax: Pico })),
  /** Machines that cost money now, as far as we know, and what they cost an hour. */
  open: Schema.Struct({ machines: Count, picoPerHour: Pico }),
  offers: Schema.Array(OfferView),
  providers: Schema.Array(Schema.Struct({ provider: Schema.String, offers: Count, readAtMs: maybe(EpochMillis), source: maybe(Schema.String), suspended: maybe(Schema.String) })),
  /** Endings that no provider has confirmed, machines that nobody accounts for, and what they cost an hour. */
  leaks: Schema.Struct({ leases: Schema.Array(LeaseView), picoPerHour: Pico }),
  cut: Cut
})

const read = {
  after: Schema.optionalKey(CutText),
  at: Schema.optionalKey(AtText),
  waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 30_000 }))))
}

export class Capacity extends HttpApiGroup.make("capacity")
  .add(
    HttpApiEndpoint.get("leases", "/leases", {
      query: {
        ...read,
        stands: Schema.optionalKey(LeaseStands),
        limit: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1000 }))))
      },
      success: Schema.Struct({ leases: Schema.Array(LeaseView), cut: Cut }),
      error: [BadRequest, Forbidden, Unavailable]
    }),
    HttpApiEndpoint.get("capacity", "/capacity", { query: read, success: CapacityView, error: [BadRequest, Forbidden, Unavailable] })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the broker answers from its own tables. */
export class Api extends HttpApi.make("millrace-broker").add(Capacity).annotateMerge(OpenApi.annotations({ title: "Millrace broker", version: "1" })) {}
