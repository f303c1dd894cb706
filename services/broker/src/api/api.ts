import { MomentText } from "@millrace/readmodel"
import { Authentication, BadRequest, Forbidden, NotFound, Unavailable, Wellformed } from "@millrace/service"
import { Count, Cut, CutText, EpochMillis } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const Pico = Schema.String
const maybe = <S extends Schema.Top>(schema: S) => Schema.NullOr(schema)

/** A cut as it travels in a query (`BROKER=12`), or a moment (`2026-11-22T08:00:00Z`). */

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
  because: maybe(Schema.String),
  zone: maybe(Schema.String),
  market: maybe(Schema.String),
  /** Where its price comes from, and when it was read there. */
  quote: maybe(Schema.Struct({ source: Schema.String, readAtMs: EpochMillis })),
  /** When its provider takes it back. */
  reclaimAtMs: maybe(EpochMillis),
  /** The lease that it is a second attempt at. */
  insteadOf: maybe(Schema.String),
  /** The plan that wanted it. */
  plan: maybe(Schema.String),
  /** Who asked for its end. */
  askedBy: maybe(Schema.String),
  /** The lease whose machine, which costs more, it is to take the place of. */
  replaces: maybe(Schema.String)
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
  readAtMs: maybe(EpochMillis),
  market: Schema.String,
  zone: maybe(Schema.String),
  /** The provider's own id of a single machine. */
  offer: maybe(Schema.String)
})

export const CapacityView = Schema.Struct({
  bounds: maybe(Schema.Struct({ machinesMax: Count, spendPicoPerHourMax: Pico, dryRun: Schema.Boolean })),
  /** Machines that cost money now, as far as we know, and what they cost an hour. */
  open: Schema.Struct({ machines: Count, picoPerHour: Pico }),
  offers: Schema.Array(OfferView),
  providers: Schema.Array(Schema.Struct({ provider: Schema.String, offers: Count, readAtMs: maybe(EpochMillis), source: maybe(Schema.String), suspended: maybe(Schema.String) })),
  /** Endings that no provider has confirmed, machines that nobody accounts for, and what they cost an hour. */
  leaks: Schema.Struct({ leases: Schema.Array(LeaseView), picoPerHour: Pico }),
  cut: Cut
})

export const TargetView = Schema.Struct({
  provider: Schema.String,
  machineType: Schema.String,
  region: Schema.String,
  zone: maybe(Schema.String),
  market: Schema.String,
  offer: maybe(Schema.String),
  wanted: Count,
  running: Count,
  reason: Schema.String
})

/** What we mean to have, what it costs, and why. */
export const PlanView = Schema.Struct({
  /** The fact that chose it; none for one that was solved again. */
  plan: maybe(Schema.String),
  chosenAtMs: EpochMillis,
  method: Schema.String,
  targets: Schema.Array(TargetView),
  unmet: Count,
  /** What stays without a place, and why; known where it was solved again. */
  unmetBecause: Schema.Array(Schema.Struct({ class: Schema.String, units: Schema.Number, reason: Schema.String })),
  costPicoPerHour: Pico,
  /** No plan over these inputs costs less. */
  boundPicoPerHour: maybe(Pico),
  tookMs: Count,
  weights: maybe(Schema.Record(Schema.String, Schema.Number))
})
export type PlanView = typeof PlanView.Type

export const CheckView = Schema.Struct({ provider: Schema.String, permission: Schema.String, allowed: Schema.Boolean, detail: Schema.String })

export const BillView = Schema.Struct({
  provider: Schema.String,
  fromMs: EpochMillis,
  untilMs: EpochMillis,
  /** What we have written down, what the provider bills, and why they differ; nulls where it cannot be asked. */
  oursPico: Pico,
  theirsPico: maybe(Pico),
  detail: maybe(Schema.String),
  machines: Schema.Array(Schema.Struct({
    machine: Schema.String,
    leaseId: maybe(Schema.String),
    oursPico: Pico,
    theirsPico: maybe(Pico),
    /** What ours is made of: from when to when, the price a second, and the provider's step and minimum. Nulls for a machine of no lease. */
    terms: maybe(Schema.Struct({ sinceMs: EpochMillis, untilMs: EpochMillis, pricePicoPerSecond: Pico, billedStepMs: Count, billedMsMin: Count })),
    differences: Schema.Array(Schema.Struct({ cause: Schema.String, pico: Pico, detail: Schema.String }))
  }))
})
export type BillView = typeof BillView.Type

export const ReapView = Schema.Struct({ given: Schema.Array(Schema.String), ending: Schema.Array(Schema.String), unknown: Schema.Array(Schema.String), cut: Cut })
export type ReapView = typeof ReapView.Type

const read = {
  after: Schema.optionalKey(CutText),
  at: Schema.optionalKey(MomentText),
  waitMs: Schema.optionalKey(Schema.NumberFromString.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 30_000 }))))
}

const ProviderText = Schema.String.pipe(Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,39}$/u)))
const LeaseText = Schema.String.pipe(Schema.check(Schema.isPattern(/^lse_[0-9A-HJKMNP-TV-Z]{26}(,lse_[0-9A-HJKMNP-TV-Z]{26}){0,99}$/u)))
/** `riskPermille=0,startPermille=100`. */
const WeightsText = Schema.String.pipe(Schema.check(Schema.isPattern(/^([A-Za-z]{1,40}=[0-9]{1,9}(,[A-Za-z]{1,40}=[0-9]{1,9}){0,9})?$/u)))

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
    HttpApiEndpoint.get("plan", "/capacity/plan", { query: read, success: Schema.Struct({ plan: maybe(PlanView), cut: Cut }), error: [BadRequest, Forbidden, Unavailable] }),
    HttpApiEndpoint.get("capacity", "/capacity", { query: read, success: CapacityView, error: [BadRequest, Forbidden, Unavailable] })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the broker asks of providers, solves, or ends because somebody wants it now. */
export class CapacityActs extends HttpApiGroup.make("acts")
  .add(
    HttpApiEndpoint.get("solveAgain", "/capacity/plan/again", { query: { ...read, weights: Schema.optionalKey(WeightsText) }, success: Schema.Struct({ plan: PlanView, cut: Cut }), error: [BadRequest, Forbidden, NotFound, Unavailable] }),
    HttpApiEndpoint.get("checks", "/capacity/checks", { query: { provider: Schema.optionalKey(ProviderText) }, success: Schema.Struct({ checks: Schema.Array(CheckView) }), error: [Forbidden, NotFound] }),
    HttpApiEndpoint.get("bill", "/capacity/bill", {
      query: { provider: Schema.optionalKey(ProviderText), from: Schema.optionalKey(Schema.String), until: Schema.optionalKey(Schema.String) },
      success: Schema.Struct({ bills: Schema.Array(BillView), cut: Cut }),
      error: [BadRequest, Forbidden, NotFound, Unavailable]
    }),
    HttpApiEndpoint.post("reap", "/capacity/reap", { query: { lease: Schema.optionalKey(LeaseText) }, success: ReapView, error: [Forbidden, NotFound, Unavailable] })
  )
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1")
{}

/** What the broker answers from its own tables, and what it does when asked. */
export class Api extends HttpApi.make("millrace-broker").add(Capacity).add(CapacityActs).annotateMerge(OpenApi.annotations({ title: "Millrace broker", version: "1" })) {}
