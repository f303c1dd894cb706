import { Blobs } from "@millrace/blobs"
import { Journal } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import type { Digest, LeaseId } from "@millrace/schemas"
import { Authority, BadRequest, Caller, mayRead, NotFound, Unavailable } from "@millrace/service"
import { Clock, Effect, Schema } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { type Ours, reconcile } from "../domain/bill.ts"
import { chooseThoroughly } from "../domain/plan/choose.ts"
import { PlanKept, type Weights } from "../domain/plan/inputs.ts"
import { reap } from "../domain/reap.ts"
import { type LeaseRow, leasesHistory, plansHistory } from "../projections/leases.ts"
import { Providers } from "../providers/all.ts"
import type { Provider } from "../providers/provider.ts"
import { AtWork } from "../reactors/at-work.ts"
import { Solver } from "../solver/solver.ts"
import { Api, type BillView } from "./api.ts"
import { targetViewOf } from "./capacity.ts"
import { momentOf, readingOf } from "./reading.ts"

const inputsBytesMax = 64 * 1024 * 1024
const leasesMax = 10_000
const decodeKept = Schema.decodeUnknownEffect(Schema.fromJsonString(PlanKept))

/**
 * What the broker does because somebody asks for it. Each is allowed by `capacity.write`, for it calls providers or computes. Machines
 * are the cell's and run everybody's work: they are ended for whoever operates the cell, and for no manager of some workspace.
 */
export const ActsLive = HttpApiBuilder.group(Api, "acts", Effect.fn(function*(handlers) {
  const authority = yield* Authority
  const database = yield* Database
  const journal = yield* Journal
  const blobs = yield* Blobs
  const providers = yield* Providers
  const solver = yield* Solver
  const atWork = yield* AtWork

  const allowed = Effect.provideService(mayRead("capacity.write"), Authority, authority)
  const operates = Effect.provideService(mayRead("cell.operate"), Authority, authority)
  const reading = <A>(...given: Parameters<typeof readingOf<A>>) =>
    readingOf<A>(...given).pipe(Effect.provideService(Database, database), Effect.provideService(Journal, journal))

  const providersNamed = (name: string | undefined): Effect.Effect<ReadonlyArray<Provider>, NotFound> => {
    const found = [...providers.values()].filter((provider) => name === undefined || provider.name === name)
    return name !== undefined && found.length === 0
      ? Effect.fail(new NotFound({ code: "provider_unknown", what: `no provider is named ${name}`, where: "the broker's settings", remedy: `name one of these: ${[...providers.keys()].join(", ") || "none is set"}` }))
      : Effect.succeed(found)
  }

  const headOf = Effect.mapError(journal.head("BROKER"), (error) => new Unavailable({ code: "journal_unavailable", what: error.message, where: "the log", remedy: "ask again in a moment" }))

  return handlers.handleAll({
    checks: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const named = yield* providersNamed(query.provider)
      const checks = yield* Effect.forEach(named, (provider) => Effect.map(provider.check, (each) => each.map((one) => ({ provider: provider.name, ...one }))), { concurrency: 4 })
      return { checks: checks.flat() }
    }),

    bill: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const nowMs = yield* Clock.currentTimeMillis
      const untilMs = query.until === undefined ? nowMs : yield* momentOf(query.until, "until")
      const fromMs = query.from === undefined ? untilMs - 86_400_000 : yield* momentOf(query.from, "from")
      const named = yield* providersNamed(query.provider)
      const { cut, value } = yield* reading({}, ({ db, valid }) =>
        db.selectFrom("leases").selectAll().where(valid(leasesHistory)).where("machine", "is not", null).where("since_ms", "<", untilMs).orderBy("lease_id", "desc").limit(leasesMax).execute())
      const own = value.filter(({ ended_at_ms }) => ended_at_ms === null || Number(ended_at_ms) >= fromMs)
      const bills = yield* Effect.forEach(named, (provider) => billOf(provider, own.filter((row) => row.provider === provider.name), fromMs, untilMs), { concurrency: 4 })
      return { bills, cut }
    }),

    reap: Effect.fnUntraced(function*({ query }) {
      yield* operates
      const { order } = atWork
      if (order === undefined) return yield* new Unavailable({ code: "broker_idle", what: "this broker does not hold the order of buying", where: "the broker", remedy: "ask again in a moment; another broker may be taking over" })
      const { principal } = yield* Caller
      const named = (query.lease === undefined ? [] : query.lease.split(",")).map((id) => id as LeaseId)
      let done: ReturnType<typeof reap> = { given: [], ending: [], unknown: [] }
      yield* Effect.mapError(
        order.observe((state) => {
          done = reap(state, named, principal)
          return done.given.map(({ causedBy, event, lease }) => ({ subject: { kind: "machine", scope: lease.provider, story: lease.id }, event, partOf: lease.partOf, causedBy }))
        }),
        (error) => new Unavailable({ code: "journal_unavailable", what: error.message, where: "the log", remedy: "ask again in a moment: asking twice ends nothing twice" })
      )
      if (done.unknown.length > 0 && done.given.length + done.ending.length === 0) {
        return yield* new NotFound({ code: "lease_unknown", what: `no open lease is named ${done.unknown.join(", ")}`, where: "the broker", remedy: "see which are open: millrace capacity leases --state held" })
      }
      return { given: done.given.map(({ lease }) => lease.id), ending: done.ending, unknown: done.unknown, cut: { BROKER: yield* headOf } }
    }),

    solveAgain: Effect.fnUntraced(function*({ query }) {
      yield* allowed
      const { cut, value } = yield* reading(query, ({ db, valid }) => db.selectFrom("plans").selectAll().where(valid(plansHistory)).executeTakeFirst())
      if (value === undefined) return yield* new NotFound({ code: "plan_unknown", what: "no plan was chosen by then", where: "the broker", remedy: "see which there is: millrace capacity plan" })
      const kept = yield* blobs.getBytes(value.inputs_digest as Digest, inputsBytesMax).pipe(
        Effect.flatMap((bytes) => decodeKept(Buffer.from(bytes).toString("utf8"))),
        Effect.mapError((error) => new Unavailable({ code: "inputs_unreadable", what: `the plan's inputs cannot be read: ${error._tag}`, where: value.inputs_digest, remedy: "look whether the blob store holds them" }))
      )
      const weights = yield* weightsWith(kept.weights, query.weights)
      const beganAtMs = yield* Clock.currentTimeMillis
      const plan = yield* solver.choose(chooseThoroughly(kept.inputs, weights))
      return {
        plan: {
          plan: null,
          chosenAtMs: Number(value.chosen_at_ms),
          method: plan.method,
          targets: plan.targets.map(targetViewOf),
          unmet: plan.unmet.reduce((sum, { units }) => sum + Math.ceil(units), 0),
          unmetBecause: plan.unmet.map((one) => ({ class: one.class, units: one.units, reason: one.reason })),
          costPicoPerHour: plan.costPicoPerHour.toString(),
          boundPicoPerHour: plan.boundPicoPerHour?.toString() ?? null,
          tookMs: (yield* Clock.currentTimeMillis) - beganAtMs,
          weights: { ...weights }
        },
        cut
      }
    })
  })
}))

/** What we have written down of a provider's machines beside what it bills for them. */
const billOf = Effect.fnUntraced(function*(provider: Provider, rows: ReadonlyArray<LeaseRow>, fromMs: number, untilMs: number): Effect.fn.Return<BillView> {
  const ours = rows.map((row): Ours => ({
    leaseId: row.lease_id,
    machine: row.machine ?? "",
    sinceMs: Math.max(fromMs, Number(row.since_ms ?? fromMs)),
    untilMs: Math.min(untilMs, Number(row.ended_at_ms ?? untilMs)),
    pricePicoPerSecond: BigInt(row.price_pico_per_second ?? "0"),
    billing: { billedStepMs: Number(row.billed_step_ms ?? provider.can.billedStepMs), billedMsMin: Number(row.billed_ms_min ?? provider.can.billedMsMin) }
  }))
  const told = provider.bill === undefined ? undefined : yield* Effect.result(provider.bill(fromMs, untilMs))
  const theirs = told?._tag === "Success" && told.success._tag === "Told" ? told.success.value : undefined
  const compared = reconcile(ours, theirs ?? [])
  const byLease = new Map(ours.map((one) => [one.leaseId, one]))
  const detail = provider.bill === undefined ? "it cannot be asked for its bill: hand it over with --file, or name a folder of bills in its entry"
    : told?._tag === "Failure" ? told.failure.message
    : told?.success._tag === "Refusal" ? `${told.success.reason}: ${told.success.detail}`
    : null
  return {
    provider: provider.name,
    fromMs,
    untilMs,
    oursPico: compared.reduce((sum, one) => sum + one.oursPico, 0n).toString(),
    theirsPico: theirs === undefined ? null : compared.reduce((sum, one) => sum + one.theirsPico, 0n).toString(),
    detail,
    machines: compared.map(({ differences, leaseId, machine, oursPico, theirsPico }) => ({
      terms: termsOf(byLease.get(leaseId ?? "")),
      machine,
      leaseId: leaseId ?? null,
      oursPico: oursPico.toString(),
      theirsPico: theirs === undefined ? null : theirsPico.toString(),
      differences: theirs === undefined ? [] : differences.map((one) => ({ ...one, pico: one.pico.toString() }))
    }))
  }
})

const termsOf = (ours: Ours | undefined): BillView["machines"][number]["terms"] =>
  ours === undefined ? null : { sinceMs: ours.sinceMs, untilMs: ours.untilMs, pricePicoPerSecond: ours.pricePicoPerSecond.toString(), ...ours.billing }

/** The plan's own weights, with those that somebody wants otherwise: `riskPermille=0,startPermille=100`. */
const weightsWith = (weights: Weights, text: string | undefined): Effect.Effect<Weights, BadRequest> => {
  const changes = (text ?? "").split(",").filter((part) => part !== "").map((part) => part.split("=") as [string, string])
  const strange = changes.find(([name]) => !(name in weights))
  return strange === undefined
    ? Effect.succeed({ ...weights, ...Object.fromEntries(changes.map(([name, value]) => [name, Number(value)])) })
    : Effect.fail(new BadRequest({ code: "weight_unknown", what: `no weight is named ${strange[0]}`, where: "the query's field weights", remedy: `name some of these: ${Object.keys(weights).join(", ")}` }))
}
