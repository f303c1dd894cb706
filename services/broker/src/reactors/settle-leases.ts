import { crashPoint } from "@millrace/journal"
import type { LeaseId, LeaseRefused, MillFact } from "@millrace/schemas"
import { Clock, Deferred, Effect, FiberMap, Redacted } from "effect"
import { blockedUntilMs, blockNameOf } from "../domain/blocks.ts"
import { beyondBounds } from "../domain/bounds.ts"
import { offerOf } from "../domain/choosing.ts"
import { drainsForMs } from "../domain/ending.ts"
import { hostOf } from "../domain/hosts.ts"
import { type Lease, machineOf, stageOf } from "../domain/lease.ts"
import { byMachineIn, ended, type Listed, missesMax } from "../domain/sweep.ts"
import type { State } from "../domain/state.ts"
import { answerMsMax, type Provider, type Refusal } from "../providers/provider.ts"
import type { Providers } from "../providers/all.ts"
import { announced, calledBefore, outlivedMs } from "./announce.ts"
import { oneTimeKeyOf, userDataOf } from "./one-time-key.ts"
import type { Broken, Order } from "./order.ts"
import { suspended } from "./sweep-providers.ts"

/** What carrying out a lease stands on. */
export interface Settling {
  readonly order: Order
  readonly providers: Providers["Service"]
  readonly secret: Redacted.Redacted
  /** The settings that a machine's agent starts with, as lines of NAME=value. */
  readonly agentSettings: string
  /** How long a machine may not have heard from its cell until it turns itself off, where that ends it. Undefined: for ever. */
  readonly deadManMs?: number | undefined
}

/** What one broker's calls have come to. */
interface Calling extends Settling {
  /** Calls that are under way, or were cut off, and until when they may still do something, in ms since 1970. */
  readonly underWay: Map<LeaseId, number>
  /** The order is held no longer. */
  readonly broken: Deferred.Deferred<never, Broken>
}

/** How often a machine that is to end is asked for again, and looked at, in ms. */
const askAgainMs = 5_000
const unclearTimesMax = 3

/**
 * Carries out what leases ask for, one fiber a lease: buys on `LeaseRequested`, gives back on `LeaseReleased`,
 * and after `LeaseWithdrawn` finds out whether something was bought.
 *
 * It may begin anew for a lease at any point. Whatever may have been asked before is looked for under the
 * lease's token first, for as long as a call may be under way and a machine may be missing from its provider's list;
 * only then is it asked for again. Telling a settled lease its answer again says nothing.
 */
export const settleLeases = Effect.fnUntraced(function*(settling: Settling): Effect.fn.Return<never, Broken> {
  return yield* Effect.scoped(Effect.gen(function*() {
    const { order } = settling
    const fibers = yield* FiberMap.make<string, void, Broken>()
    const startedAtMs = yield* Clock.currentTimeMillis
    const { leases, term } = order.state()
    const openAtStart = new Set(leases.keys())
    const calling: Calling = { ...settling, underWay: new Map(), broken: yield* Deferred.make<never, Broken>() }
    for (const [id, lease] of leases) if (calledBefore(lease, term)) calling.underWay.set(id, startedAtMs + outlivedMs)
    let seen = -1
    const each = Effect.gen(function*() {
      seen = yield* order.changed(seen)
      for (const [id, lease] of order.state().leases) {
        const provider = settling.providers.get(lease.provider)
        if (provider === undefined) continue
        const stage = stageOf(lease)
        const work = stage === "asked" ? buy(calling, provider, id, openAtStart.has(id) ? startedAtMs : undefined)
          : stage === "withdrawn" ? lookAfter(calling, provider, id)
          : stage === "released" ? giveBack(settling, provider, id)
          : undefined
        // Given up: a call that waits for its turn is not made, and one that is under way is found by its token.
        if (stage === "withdrawn") yield* FiberMap.remove(fibers, `${id} asked`)
        if (work !== undefined) yield* FiberMap.run(fibers, `${id} ${stage}`, work, { onlyIfMissing: true })
      }
    })
    return yield* Effect.raceAllFirst([Effect.forever(each), FiberMap.join(fibers).pipe(Effect.andThen(Effect.never)), Deferred.await(calling.broken)])
  }))
})

const leaseIn = (state: State, id: LeaseId, ...stages: ReadonlyArray<ReturnType<typeof stageOf>>): Lease | undefined => {
  const lease = state.leases.get(id)
  return lease !== undefined && stages.includes(stageOf(lease)) ? lease : undefined
}

const tell = (order: Order, id: LeaseId, stages: ReadonlyArray<ReturnType<typeof stageOf>>, what: (lease: Lease, atMs: number) => MillFact | undefined) =>
  order.observe((state, atMs) => {
    const lease = leaseIn(state, id, ...stages)
    const event = lease === undefined ? undefined : what(lease, atMs)
    return lease === undefined || event === undefined ? [] : [{
      subject: { kind: "machine", scope: lease.provider, story: lease.id },
      event,
      partOf: lease.partOf,
      causedBy: lease.released?.factId ?? lease.withdrawn?.factId ?? lease.factId
    }]
  })

/** Buys what a lease asks for. `mayHaveAskedMs`: an earlier broker may have asked, until then. */
const buy = Effect.fnUntraced(function*(settling: Calling, provider: Provider, id: LeaseId, mayHaveAskedMs: number | undefined) {
  const { broken, order, underWay } = settling
  // Who asks again for what the provider knows to be the same need not wait for a call of before.
  let unclearSinceMs = mayHaveAskedMs === undefined || provider.can.idempotent ? mayHaveAskedMs : Math.max(mayHaveAskedMs, underWay.get(id) ?? 0)
  let unclearTimes = 0
  let declared = false
  while (true) {
    const lease = leaseIn(order.state(), id, "asked")
    if (lease?.requested === undefined) return
    const { fact } = lease.requested
    const nowMs = yield* Clock.currentTimeMillis
    if (unclearSinceMs !== undefined) {
      const found = yield* find(provider, fact.token)
      if (found !== undefined && found !== "unclear") return yield* granted(settling, provider, id, found.machine, found.sinceMs ?? nowMs, found)
      if (found === "unclear" || nowMs < unclearSinceMs + provider.can.visibleWithinMs) {
        yield* Effect.sleep(Math.min(2_000, Math.max(200, provider.can.visibleWithinMs / 4)))
        continue
      }
    }
    const isThere = hostOf(order.state(), lease)?.joined !== undefined
    if (isThere) {
      // Its host has come before its provider's answer: it is bought, and nothing more may be. Only a wish that is declared is asked again how far it is.
      const found = yield* find(provider, fact.token, true)
      if (found !== undefined && found !== "unclear" && found.stands !== "declared") return yield* granted(settling, provider, id, found.machine, found.sinceMs ?? nowMs, found)
      if (found === undefined || found === "unclear") {
        yield* Effect.sleep(2_000)
        continue
      }
    }
    if (!isThere && !declared && isDearer(order.state(), lease)) return yield* refused(order, id, { _tag: "Refusal", reason: "price_moved", narrows: "market", detail: "it costs more than when it was chosen" })
    if (!isThere && !mayStillBuy(order.state(), lease)) return
    yield* crashPoint("create machine before")
    const maySend = Effect.andThen(announced(order, id, broken), Effect.map(Clock.currentTimeMillis, (atMs) => void underWay.set(id, atMs + answerMsMax)))
    const userData = userDataOf(settling.agentSettings, oneTimeKeyOf(settling.secret, id), provider.can.endsWhenOff ? settling.deadManMs : undefined)
    const answer = yield* Effect.result(provider.create({ leaseId: id, token: fact.token, cell: fact.cell, column: fact.column, pricePicoPerSecondMax: fact.pricePicoPerSecondMax, userData, askedAtMs: nowMs, maySend }))
    underWay.delete(id)
    yield* crashPoint("create machine after")
    if (answer._tag === "Failure") {
      unclearSinceMs = yield* Clock.currentTimeMillis
      unclearTimes += 1
      yield* Effect.logWarning(answer.failure.message)
      if (unclearTimes >= unclearTimesMax) yield* suspended(order, provider.name, answer.failure.message)
      continue
    }
    if (answer.success._tag === "Bought") return yield* granted(settling, provider, id, answer.success.machine, answer.success.billedSinceMs ?? nowMs)
    // Asked again it says how far it is; when it is given up, `lookAfter` takes it back.
    if (answer.success._tag === "Coming") {
      declared = true
      yield* Effect.sleep(Math.max(100, answer.success.askAgainMs))
      continue
    }
    const { reason, untilMs = nowMs + 60_000 } = answer.success
    // A turn that comes in time is waited for; everything else is an answer.
    if (reason !== "rate_limited" || untilMs >= fact.answerByMs) return yield* refused(order, id, answer.success)
    yield* Effect.sleep(Math.max(100, untilMs - nowMs))
  }
})

/** Once more, right before money is spent: the bounds hold with everything that is open, this one included, and its provider may be asked. */
const mayStillBuy = (state: State, lease: Lease): boolean =>
  state.bounds !== undefined && state.bounds.dryRun !== true && !beyondBounds(state).has(lease.id) && !state.suspended.has(lease.provider)

const isDearer = (state: State, { provider, requested }: Lease): boolean => {
  const offer = requested === undefined ? undefined : offerOf(state, provider, requested.fact.column)
  return offer !== undefined && requested !== undefined && offer.pricePicoPerSecond > requested.fact.pricePicoPerSecondMax
}

/**
 * The machine under a token, if its provider lists one. Several, if a call was repeated too soon: the sweep ends the
 * rest. One that has ended already counts too: it was bought, so nothing more is bought under this token.
 */
const find = (provider: Provider, token: string, alsoDeclared = false): Effect.Effect<Listed | "unclear" | undefined> =>
  Effect.map(Effect.result(provider.list), (answer) => {
    if (answer._tag === "Failure" || answer.success._tag === "Refusal") return "unclear"
    const named = answer.success.value.filter((one) => one.token === token && (alsoDeclared || one.stands !== "declared"))
    return [...named].sort((a, b) => Number(hasEnded(a)) - Number(hasEnded(b)) || (a.machine < b.machine ? -1 : 1))[0]
  })

const hasEnded = ({ stands }: Listed): boolean => stands === "terminated" || stands === "reclaimed" || stands === "ending"

/**
 * What a list says that a machine costs: nothing where it does not know, where a machine is being taken back and is
 * listed at what is left of its price, and of spot past its bid, which nobody is charged.
 */
const listedPriceOf = ({ market, pricePicoPerSecond, reclaimAtMs }: Listed, mostPico: bigint): bigint | undefined =>
  pricePicoPerSecond <= 0n || reclaimAtMs !== undefined || (market === "spot" && pricePicoPerSecond > mostPico) ? undefined : pricePicoPerSecond

/** `found`: the machine as its provider's list has it, where it was looked for. */
const granted = ({ deadManMs, order }: Settling, provider: Provider, id: LeaseId, machine: string, sinceMs: number, found?: Listed) =>
  tell(order, id, ["asked", "withdrawn"], ({ requested }, atMs): MillFact => {
    const fact = requested!.fact
    const market = order.state().markets.get(provider.name)
    const offer = offerOf(order.state(), provider.name, fact.column)
    const listed = found === undefined ? undefined : listedPriceOf(found, fact.pricePicoPerSecondMax)
    return {
      _tag: "LeaseGranted",
      leaseId: id,
      provider: provider.name,
      machine,
      region: fact.column.region,
      pricePicoPerSecond: listed ?? offer?.pricePicoPerSecond ?? fact.pricePicoPerSecondMax,
      quote: listed === undefined
        ? { source: `${provider.name}: its list of offers`, readAtMs: market?.observedAtMs ?? atMs }
        : { source: `${provider.name}: its list of machines`, readAtMs: atMs },
      billedStepMs: provider.can.billedStepMs,
      billedMsMin: provider.can.billedMsMin,
      billedSinceMs: Math.min(sinceMs, atMs),
      ...(found?.deadManAtMs !== undefined ? { deadManAtMs: found.deadManAtMs } : provider.can.endsWhenOff && deadManMs !== undefined ? { deadManAtMs: atMs + deadManMs } : {})
    }
  })

/** Says the refusal, and until when it holds: by what it means, and how often it has been said in a row. */
const refused = (order: Order, id: LeaseId, refusal: Refusal) =>
  tell(order, id, ["asked", "withdrawn"], ({ provider, requested }, atMs): LeaseRefused => {
    const { detail, narrows, reason } = refusal
    const { column } = requested!.fact
    const inARow = order.state().refusals.get(blockNameOf(provider, column, refusal)) ?? 0
    return { _tag: "LeaseRefused", leaseId: id, provider, reason, narrows, detail: detail.slice(0, 400), notBeforeMs: blockedUntilMs(refusal, column, inARow, atMs) }
  })

/** A lease that was given up before its answer: what still comes is told, and so is that nothing came. */
const lookAfter = Effect.fnUntraced(function*({ order, underWay, ...rest }: Calling, provider: Provider, id: LeaseId) {
  const sinceMs = Math.max(yield* Clock.currentTimeMillis, underWay.get(id) ?? 0)
  underWay.delete(id)
  while (true) {
    const lease = leaseIn(order.state(), id, "withdrawn")
    if (lease?.requested === undefined) return
    const found = yield* find(provider, lease.requested.fact.token, true)
    const nowMs = yield* Clock.currentTimeMillis
    if (found !== undefined && found !== "unclear" && found.stands === "declared" && found.sinceMs === undefined) {
      // Nothing has come of it, so there is nothing to grant: it is taken back, and looked at again.
      yield* Effect.result(provider.terminate(found.machine))
      yield* Effect.sleep(500)
      continue
    }
    if (found !== undefined && found !== "unclear") return yield* granted({ order, ...rest }, provider, id, found.machine, found.sinceMs ?? nowMs, found)
    // A call that may still be under way ends within its own limit; then the machine has to become visible.
    if (found === undefined && nowMs >= sinceMs + provider.can.visibleWithinMs) return yield* tell(order, id, ["withdrawn"], (one, atMs) => ended(one, "not_there", atMs))
    yield* Effect.sleep(Math.max(200, Math.min(askAgainMs, provider.can.visibleWithinMs / 4)))
  }
})

/** Ends a machine, and says so only when its provider does: in words, or by a list that misses it twice in a row. */
const giveBack = Effect.fnUntraced(function*({ order }: Settling, provider: Provider, id: LeaseId) {
  let pauseMs = 500
  let accepted = false
  let misses = 0
  while (true) {
    const lease = leaseIn(order.state(), id, "released")
    const machine = lease === undefined ? undefined : machineOf(lease)
    if (lease === undefined || machine === undefined) return
    const drainMs = drainsForMs(order.state(), lease, yield* Clock.currentTimeMillis)
    if (drainMs > 0) {
      yield* Effect.sleep(Math.min(2_000, drainMs))
      continue
    }
    const looked = yield* Effect.result(provider.list)
    const nowMs = yield* Clock.currentTimeMillis
    if (looked._tag === "Success" && looked.success._tag === "Told") {
      const found = byMachineIn(looked.success.value).get(machine)
      const visible = nowMs - (lease.granted?.fact.billedSinceMs ?? lease.released?.atMs ?? nowMs) >= provider.can.visibleWithinMs
      if (found?.stands === "terminated" || found?.stands === "reclaimed") {
        const confirmed = found.stands
        return yield* tell(order, id, ["released"], (one, atMs) => ended(one, confirmed, atMs))
      }
      // A new machine may only be late in the list, and one look may have met a list that is behind: it is the second in a row that confirms.
      misses = found === undefined && visible ? misses + 1 : 0
      const gone = accepted ? "terminated" : "not_there"
      if (misses >= missesMax) return yield* tell(order, id, ["released"], (one, atMs) => ended(one, gone, atMs))
      // One that is missed after its end was accepted is most likely gone; any other is asked to end, seen or not.
      if (found === undefined ? misses === 0 || !accepted : ["declared", "coming", "running"].includes(found.stands)) {
        yield* crashPoint("terminate machine before")
        const answer = yield* Effect.result(provider.terminate(machine))
        accepted ||= answer._tag === "Success" && answer.success._tag === "Told" && answer.success.value === "ending"
        yield* crashPoint("terminate machine after")
      }
    }
    yield* Effect.sleep(misses > 0 ? Math.max(200, Math.min(askAgainMs, provider.can.visibleWithinMs / 4)) : pauseMs)
    pauseMs = Math.min(askAgainMs, pauseMs * 2)
  }
})
