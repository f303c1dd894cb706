import { Blobs } from "@millrace/blobs"
import type { PlanChosen, Subject } from "@millrace/schemas"
import { Clock, Effect, Schema } from "effect"
import { chooseQuickly } from "../domain/plan/choose.ts"
import { PlanKept, usualWeights } from "../domain/plan/inputs.ts"
import { planInputsOf } from "../domain/plan-inputs.ts"
import type { State } from "../domain/state.ts"
import type { Solver } from "../solver/solver.ts"
import { inParts } from "./in-parts.ts"
import type { Broken, Order } from "./order.ts"

/** What has not changed is said again after so long: a plan that is older is not followed. */
const sayAgainMs = 60_000
/** When what waits has changed while a plan was solved, the next one is begun after so long. */
const soonMs = 1_000

const subject: Subject = { kind: "plan", scope: "cell" }

/** Of so many kinds of work that have no place a plan says why. */
const unmetMax = 20

/** Whose offers were looked at. */
const askedIn = ({ markets }: State): string => [...markets.keys()].sort().join(", ") || "nobody yet"

const encode = Schema.encodeSync(Schema.fromJsonString(PlanKept))

/**
 * Solves what to have, over and over, and says so when what it is made of has changed: what waits, what is offered,
 * what we have. Inputs and weights lie in the blob store. Running twice, it says the newer of two plans last; a long plan
 * counts for nothing until its last part is said.
 */
export const choosePlans = ({ everyMs, order, solver }: {
  readonly order: Order
  readonly solver: Solver["Service"]
  readonly everyMs: number
}): Effect.Effect<never, Broken, Blobs> =>
  Effect.gen(function*() {
    const blobs = yield* Blobs
    let saidText = ""
    let saidAtMs = 0
    const soon = Math.min(everyMs, soonMs)
    /** Answers how long until the next look, in ms. */
    const once = Effect.gen(function*() {
      const atMs = yield* Clock.currentTimeMillis
      const { demand } = order.state()
      const inputs = planInputsOf(order.state(), atMs)
      const text = encode({ inputs, weights: usualWeights })
      const nothing = inputs.classes.length === 0 && inputs.buffers.length === 0 ? inputs.columns.every(({ idle, rooms }) => idle === 0 && rooms.length === 0) : inputs.columns.length === 0
      if (nothing || (text === saidText && atMs - saidAtMs < sayAgainMs)) return everyMs
      const plan = yield* solver.choose(chooseQuickly(inputs, usualWeights))
      const tookMs = (yield* Clock.currentTimeMillis) - atMs
      const kept = yield* Effect.result(blobs.putBytes(Buffer.from(text)))
      if (kept._tag === "Failure") return yield* Effect.as(Effect.logWarning(`The inputs of a plan could not be kept: ${kept.failure._tag}`), everyMs)
      const { before, last } = inParts(plan.targets.map(({ column, provider, reason, running, wanted }) => ({ provider, column, wanted, running, reason })))
      const event: PlanChosen = {
        _tag: "PlanChosen",
        method: plan.method,
        inputs: kept.success,
        targets: last,
        unmet: plan.unmet.reduce((sum, { units }) => sum + Math.ceil(units), 0),
        ...(plan.unmet.length === 0 ? {} : { unmetBecause: plan.unmet.slice(0, unmetMax).map(({ class: of, reason, units }) => ({ class: of, units: Math.ceil(units), reason: `${reason}; asked ${order.state().markets.size === 1 ? "was" : "were"} ${askedIn(order.state())}`.slice(0, 400) })) }),
        costPicoPerHour: plan.costPicoPerHour,
        ...(plan.boundPicoPerHour === undefined ? {} : { boundPicoPerHour: plan.boundPicoPerHour }),
        tookMs
      }
      const because = demand === undefined ? {} : { causedBy: demand.factId }
      let moved = false
      yield* order.observe((state) => {
        // It is a plan for what waited when it was begun; what has come since is for the next one, which is not this one said again.
        moved = state.demand?.factId !== demand?.factId
        return moved ? [] : [...before.map((targets) => ({ subject, event: { _tag: "PlanPrepared" as const, inputs: kept.success, targets }, ...because })), { subject, event, ...because }]
      })
      if (moved) return soon
      saidText = text
      saidAtMs = atMs
      return everyMs
    })
    return yield* Effect.forever(Effect.flatMap(once, Effect.sleep))
  })
