import type { Blobs } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { type Beats, Journal, type NewFact } from "@millrace/journal"
import { HOST_ACK_WAIT_MS, hostConsumer } from "@millrace/journal/admission"
import { dialectNow, type FactId, type MillFact, type Principal, type StreamName } from "@millrace/schemas"
import { type Keyring, traced, type WarrantVerifier, worker } from "@millrace/service"
import { Clock, Effect, Exit, Layer, Scope } from "effect"
import type { Lease } from "./domain/lease.ts"
import type { Doors } from "./machine/doors.ts"
import type { Ledger } from "./machine/ledger.ts"
import { saidOf } from "./domain/copies.ts"
import { LocalCopies } from "./machine/local-copies.ts"
import { Machine } from "./machine/machine.ts"
import type { Runtimes } from "./machine/runtime.ts"
import { openLease } from "./reactors/hold-lease.ts"
import { openPlacements } from "./reactors/run-placements.ts"
import { openVoice } from "./reactors/voice.ts"
import { openGpuWatch } from "./reactors/watch-gpus.ts"

/** The version that hosts say they run. */
export const agentVersion = "0.1.0"

/**
 * What becomes of the work when the agent is told to stop. `leave`: it runs on, and the next agent takes it
 * up. `drain`: nothing new is taken, and the agent stays until all of it has ended. `end`: it is ended.
 */
export type AtStop = "leave" | "drain" | "end"

/** What it holds ready is told no more often than this, in ms: a burst of starts is one fact. */
const residentEveryMs = 5_000

/** How long a stopping agent waits for its last words, in ms, beyond the work itself. */
const lastWordsMsMax = 5_000

/** Everything that a host stands on. */
export type HostNeeds = Journal | Beats | Blobs | Doors | Keyring | Ledger | Machine | Runtimes | WarrantVerifier

/**
 * Everything a host does: it takes up what an earlier agent had begun, says that it is here, holds its lease,
 * and carries out its placements one after the other.
 */
export const hostService = ({ atStop = "leave" }: { readonly atStop?: AtStop } = {}): Layer.Layer<never, never, HostNeeds> =>
  worker(Effect.scoped(serve(atStop)), { name: "host.placements" })

const serve = Effect.fnUntraced(function*(atStop: AtStop) {
  const { bootId, capabilities, hostId } = yield* Machine
  const journal = yield* Journal
  const actor = `host:${hostId}` as Principal
  const attempts = yield* openVoice({ kind: "attempt", scope: hostId }, actor)
  const voice = yield* openVoice({ kind: "host", scope: hostId }, actor)
  const lease = yield* openLease
  // What follows the work ends behind the last words about it, and before the voices.
  const watching = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const gpus = yield* openGpuWatch((word, atMs) => say({ ...word, hostId }, `${word._tag} ${word.gpu} ${atMs}`))
  const placements = yield* Scope.provide(openPlacements(attempts, lease, gpus.ended), watching)

  const say = Effect.fnUntraced(function*(event: MillFact, what: string) {
    const nowMs = yield* Clock.currentTimeMillis
    const id = deriveId<FactId>("fct", nowMs, hostId, what, bootId)
    const fact: NewFact = { id, partOf: id, event }
    yield* voice.say([fact], Effect.void)
  })
  const copies = yield* LocalCopies
  let residentTold = 0
  /** All that it holds ready, each time anew: whoever hears that it joins knows of nothing. */
  const resident = Effect.suspend(() => {
    const { copies: held, loadBytesPerMs } = copies.held()
    return say({ _tag: "StateResident", hostId, images: [], ...saidOf(held), ...(loadBytesPerMs === undefined ? {} : { loadBytesPerMs }) }, `resident ${residentTold += 1}`)
  })
  const join = (what: string) =>
    say({ _tag: "HostJoined", hostId, bootId, capabilities, agentVersion, dialect: dialectNow }, what).pipe(
      Effect.andThen(Effect.suspend(() => copies.held().copies.blobs.size > 0 ? resident : Effect.void))
    )
  const draining = say({ _tag: "HostDraining", hostId, cause: "the agent is told to stop" }, "draining")
  const left = Effect.suspend(() => placements.running() > 0 ? Effect.void : say({ _tag: "HostLeft", hostId, cause: "the agent is told to stop" }, "left"))

  const leave = {
    leave: left,
    drain: draining.pipe(Effect.andThen(placements.allEnded), Effect.andThen(left)),
    end: Effect.andThen(placements.endAll("agent_restarted"), left)
  }[atStop]
  const stopped = { asked: false }
  yield* Effect.addFinalizer(() =>
    stopped.asked
      ? leave.pipe(atStop === "drain" ? (leaving) => leaving : Effect.timeoutOption(lastWordsMsMax), Effect.ignoreCause)
      : Effect.void)

  yield* placements.recover
  yield* join("joined")

  let joinedBehind: Lease["voidBelow"]
  /** Told again with every answer until the scheduler has heard us; done once for each loss. */
  const lost = (held: Lease): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (held.voidBelow === undefined || (joinedBehind !== undefined && same(joinedBehind, held.voidBelow))) return Effect.void
      joinedBehind = held.voidBelow
      const { epoch, sequence } = held.voidBelow
      return Effect.asVoid(Effect.forkIn(Effect.andThen(placements.voidEnded(held), join(`joined behind ${epoch}/${sequence}`)), watching))
    })

  const heard = (stream: StreamName, kind: string) =>
    journal.react(
      { stream, durable: hostConsumer(hostId), ackWaitMs: HOST_ACK_WAIT_MS, filter: `mill.${kind}.${hostId}` },
      (commit) => traced("host.run-placements", commit, placements.handle(commit))
    )
  return yield* Effect.all([
    heard("SCHEDULER", "placement"),
    heard("ACCESS", "warrant"),
    lease.keep({ attempts: placements.running, renewed: placements.renewed, lost }),
    Effect.forever(copies.changed.pipe(Effect.andThen(resident), Effect.andThen(Effect.sleep(residentEveryMs)))),
    gpus.keep,
    attempts.lost,
    voice.lost
  ], { concurrency: "unbounded", discard: true }).pipe(Effect.onInterrupt(() => Effect.sync(() => void (stopped.asked = true))))
})

const same = (left: { readonly epoch: number; readonly sequence: number }, right: { readonly epoch: number; readonly sequence: number }): boolean =>
  left.epoch === right.epoch && left.sequence === right.sequence

/** The same with work that outlives a stopped agent. */
export const HostService: Layer.Layer<never, never, HostNeeds> = hostService()
