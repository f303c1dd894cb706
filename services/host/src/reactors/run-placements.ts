import { Blobs } from "@millrace/blobs"
import { type Fact, type NewFact, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptExited, type AttemptRefused, type PlacementMade, type PlacementWithdrawn, Program } from "@millrace/schemas"
import { Keyring, openValue, WarrantVerifier } from "@millrace/service"
import { Clock, Deferred, Duration, Effect, Option } from "effect"
import { judge } from "../domain/attempt.ts"
import { nextLookMs, type Quiet, quietAfter } from "../domain/idle.ts"
import { deadlineOf, isVoid, type Lease } from "../domain/lease.ts"
import { Doors } from "../machine/doors.ts"
import { Ledger } from "../machine/ledger.ts"
import { Machine } from "../machine/machine.ts"
import { CannotStart, type Ended, type Running, Runtimes } from "../machine/runtime.ts"
import { artefactKept, entered, exited, refused, snapshotWritten, started, type Story } from "./attempt-facts.ts"
import type { HeldLease } from "./hold-lease.ts"
import type { Voice } from "./voice.ts"
import type { GpuWatch } from "./watch-gpus.ts"

const openProgram = openValue(Program)

/** Waits until what was said stands in the log. */
type Told = Effect.Effect<void>

interface Underway {
  readonly story: Story
  readonly running: Running
  readonly stopping: Deferred.Deferred<AttemptExited["cause"]>
  readonly over: Deferred.Deferred<void>
}

/**
 * Carries out what the scheduler placed here, and tells what became of it.
 *
 * Each placement is delivered at least once. The ledger is written before the work begins, ids derive
 * from the placement, and a voice says nothing twice: so hearing a placement again starts nothing and
 * adds nothing. An agent that restarts first takes up what the one before had begun and still runs, and
 * tells the end of what does not.
 */
export const openPlacements = Effect.fnUntraced(function*(voice: Voice, lease: HeldLease, heardEnd: GpuWatch["ended"] = () => Effect.void) {
  const blobs = yield* Blobs
  const doors = yield* Doors
  const keyring = yield* Keyring
  const ledger = yield* Ledger
  const machine = yield* Machine
  const runtimes = yield* Runtimes
  const verifier = yield* WarrantVerifier
  const scope = yield* Effect.scope
  const underway = new Map<string, Underway>()

  const moment = Effect.map(machine.monotonicMs, (hostMs) => ({ bootId: machine.bootId, hostMs }))

  const begin = Effect.fnUntraced(function*(story: Story): Effect.fn.Return<Told> {
    const { made } = story
    if (!ledger.attempts.has(made.attemptId)) yield* lease.live
    const nowMs = yield* Clock.currentTimeMillis
    const judgement = judge({
      hostId: machine.hostId, capabilities: machine.capabilities, attempts: ledger.attempts, fences: ledger.fences,
      voidBelow: lease.current()?.voidBelow, held: ledger.held(), nowMs
    }, made)
    switch (judgement.verdict) {
      case "known":
        return Effect.void
      case "withdrawn":
        return tellEnd(story, [exited(story, yield* moment, { cause: "withdrawn" })])
      case "refuse":
        return refuse(story, judgement.reason, judgement.detail)
      case "start": {
        const signed = yield* Effect.result(verifier.verify(made.warrant, made.signature))
        return signed._tag === "Failure" ? refuse(story, "warrant_invalid", signed.failure.message) : yield* start(story)
      }
    }
  })

  const refuse = (story: Story, reason: AttemptRefused["reason"], detail: string) =>
    tellEnd(story, [refused(story, reason, detail)])

  const noteTold = ({ made }: Story): Effect.Effect<void> => Effect.orDie(ledger.remember(made.attemptId, { state: "told", made }))

  /** The last words of an attempt, and then the ledger's. */
  const tellEnd = (story: Story, facts: ReadonlyArray<NewFact>): Told => voice.say(facts, noteTold(story))

  const start = Effect.fnUntraced(function*(story: Story): Effect.fn.Return<Told> {
    const { made } = story
    yield* Effect.orDie(ledger.remember(made.attemptId, { ...story, state: "begun" }))
    const program = yield* Effect.result(opened(made))
    if (program._tag === "Failure") return refuse(story, "program_unreadable", program.failure.message)
    const runtime = runtimes.get(made.spec.runtime)
    if (runtime === undefined) return refuse(story, "cannot_start", "this host has no such runtime")
    const before = yield* preparing(story)
    const isNoop = made.spec.runtime === "noop"
    const socket = isNoop ? undefined : yield* doors.open(made)
    const held = lease.current()
    const running = yield* inTime(made, Effect.result(held === undefined
      ? Effect.fail(new CannotStart({ runtime: made.spec.runtime, detail: "this host holds no lease" }))
      : runtime.start({
        made, program: program.success, deadlineMs: deadlineOf(held, made.spec.onSilence.keepMs), ...(socket === undefined ? {} : { socket })
      })))
    if (running === "late") {
      // It may have come to be after all, so this is the end of an attempt and no refusal.
      yield* runtime.endOrphan(made.attemptId)
      return Effect.andThen(doors.close(made.attemptId), tellEnd(story, [...before, exited(story, yield* moment, { cause: "start_timed_out" })]))
    }
    if (running._tag === "Failure") {
      return Effect.andThen(doors.close(made.attemptId), tellEnd(story, [...before, refused(story, "cannot_start", running.failure.detail)]))
    }
    const startedAt = started(story, running.success.startedAt ?? (yield* moment))
    if (isNoop) {
      return tellEnd(story, [startedAt, exited(story, yield* moment, { ...(yield* running.success.ended), cause: "exited" })])
    }
    return yield* follow(story, running.success, [...before, startedAt])
  })

  const inTime = <A>({ spec: { startMsMax } }: PlacementMade, start: Effect.Effect<A>): Effect.Effect<A | "late"> =>
    startMsMax === undefined ? start : Effect.timeoutOrElse(start, { duration: startMsMax, orElse: () => Effect.succeed("late" as const) })

  /** What goes before the work: only where it takes a while, for each phase is a fact. */
  const preparing = Effect.fnUntraced(function*(story: Story) {
    const { from, spec: { runtime } } = story.made
    if (runtime !== "sandbox") return []
    return [entered(story, yield* moment, from === undefined ? "preparing" : "restoring")]
  })

  /** Says that it runs, if that is news, and sees it to its end. */
  const follow = Effect.fnUntraced(function*(story: Story, running: Running, news: ReadonlyArray<NewFact>): Effect.fn.Return<Told> {
    const { attemptId } = story.made
    const here: Underway = { story, running, stopping: yield* Deferred.make<AttemptExited["cause"]>(), over: yield* Deferred.make<void>() }
    underway.set(attemptId, here)
    yield* doors.runs(story.made, running)
    // An answer may have come while it was being started, with a deadline that lies further.
    const held = lease.current()
    if (held !== undefined) yield* running.extend(deadlineOf(held, story.made.spec.onSilence.keepMs))
    const told = yield* Deferred.make<void>()
    yield* Effect.forkIn(Effect.andThen(Deferred.await(told), watch(here)), scope)
    const say = news.length === 0 ? Effect.void : voice.say(news, Effect.orDie(ledger.remember(attemptId, { ...story, state: "running" })))
    return Effect.andThen(say, Deferred.succeed(told, undefined))
  })

  /** Waits until the work has done nothing for as long as it may; an agent that takes it up counts anew. */
  const idled = Effect.fnUntraced(function*({ running: { doings }, story: { made: { attemptId, spec: { idleMsMax } } } }: Underway) {
    if (idleMsMax === undefined || doings === undefined) return yield* Effect.never
    let quiet: Quiet | undefined
    while (true) {
      const { agoMs, ...seen } = yield* doings
      const now: Quiet = { sinceMs: yield* machine.monotonicMs, doings: { ...seen, askedBytes: doors.askedBytes(attemptId) } }
      quiet = quietAfter(quiet, now, idleMsMax)
      // It was quiet as far as was looked, and no further.
      if (now.sinceMs - agoMs - quiet.sinceMs >= idleMsMax) return
      yield* Effect.sleep(nextLookMs(quiet, now.sinceMs, idleMsMax))
    }
  })

  /** Sees an attempt to its end: it ends by itself, is stopped, runs out of time, or does nothing for too long. */
  const watch = Effect.fnUntraced(function*(here: Underway) {
    const { over, running, stopping, story } = here
    const { attemptId, spec: { runMsMax } } = story.made
    const ranMs = running.startedAt === undefined ? 0 : (yield* machine.monotonicMs) - running.startedAt.hostMs
    const stopped = yield* Effect.raceAllFirst([
      Effect.as(running.ended, Option.none<AttemptExited["cause"]>()),
      Effect.as(idled(here), Option.some<AttemptExited["cause"]>("idle_timed_out")),
      Effect.map(
        Effect.timeoutOrElse(Deferred.await(stopping), {
          duration: Duration.millis(Math.max(0, runMsMax - ranMs)),
          orElse: () => Effect.succeed("timed_out" as const)
        }),
        Option.some
      )
    ])
    const stoppingAt = yield* moment
    if (Option.isSome(stopped)) yield* running.stop
    const ended = yield* running.ended
    // It was over, and only what it left was still being kept.
    const asked = ended.byItself === true ? Option.none() : stopped
    const before = Option.isNone(asked) ? [] : [entered(story, stoppingAt, "stopping")]
    yield* doors.close(attemptId)
    const kept = yield* keptOf(story, ended)
    // Its deadline may have ended it before anybody here could: an agent that stood still asks afterwards.
    const cause = ended.cause === "lease_ended" ? ended.cause : Option.getOrElse(asked, () => ended.cause ?? "exited")
    const end = exited(story, ended.at ?? (yield* moment), { ...ended, cause })
    yield* tellEnd(story, [...before, ...kept, end])
    yield* Effect.forkIn(heardEnd(story.made, ended, cause), scope)
    underway.delete(attemptId)
    yield* Deferred.succeed(over, undefined)
    yield* running.release
  })

  /** Output leaves the host before its attempt is settled. A store that is full costs the output, never the end. */
  const keptOf = Effect.fnUntraced(function*(story: Story, { artefacts = [], output, snapshot }: Ended) {
    const facts: Array<NewFact> = []
    for (const { bytes, droppedBytes, name } of output) {
      const blob = yield* Effect.option(Effect.retry(blobs.putBytes(bytes), { times: 3 }))
      if (Option.isNone(blob)) yield* Effect.logError(`${name} of ${story.made.attemptId} could not be kept`)
      else facts.push(artefactKept(story, { name, blob: blob.value, droppedBytes }))
    }
    for (const artefact of artefacts) facts.push(artefactKept(story, artefact))
    if (snapshot !== undefined) facts.push(snapshotWritten(story, snapshot))
    return facts
  })

  /** Ends an attempt, or notes that it is not to begin. */
  const end = Effect.fnUntraced(function*(attemptId: PlacementMade["attemptId"], cause: AttemptExited["cause"]) {
    const here = underway.get(attemptId)
    if (here !== undefined) yield* Deferred.succeed(here.stopping, cause)
    else if (!ledger.attempts.has(attemptId)) yield* Effect.orDie(ledger.remember(attemptId, { state: "withdrawn" }))
  })

  const withdraw = ({ attemptId, cause }: PlacementWithdrawn) => end(attemptId, cause === "timed_out" ? "timed_out" : "withdrawn")

  const opened = ({ jobId, spec: { program } }: PlacementMade) =>
    program === undefined
      ? Effect.succeed<Program>({ argv: [], env: {}, labels: {} })
      : openProgram(program, `${jobId}/program`).pipe(Effect.provideService(Keyring, keyring))

  /**
   * Notes what the agent before this one said last and may have fallen before noting. All of it, and before
   * a word more is said: this agent may fall too, and the one after it looks at the last commit alone.
   */
  const noteLastWords = Effect.gen(function*() {
    const lastWords = voice.inDoubt === undefined ? [] : readable(voice.inDoubt).facts
    for (const { event } of lastWords) {
      if (event._tag === "AttemptExited" || event._tag === "AttemptRefused") {
        yield* Effect.orDie(ledger.remember(event.attemptId, { state: "told", made: event }))
      } else if (event._tag === "AttemptStarted") {
        const known = ledger.attempts.get(event.attemptId)
        if (known?.state === "begun") yield* Effect.orDie(ledger.remember(event.attemptId, { ...known, state: "running" }))
      }
    }
  })

  /** Takes up what the agent before this one began and still runs, and tells the end of what does not. */
  const recover = Effect.gen(function*() {
    yield* noteLastWords
    const begun = [...ledger.attempts].flatMap(([, remembered]) =>
      remembered.state === "begun" || remembered.state === "running" ? [remembered] : [])
    for (const remembered of begun) {
      const { made } = remembered
      const runtime = runtimes.get(made.spec.runtime)
      const socket = made.spec.runtime === "noop" ? undefined : yield* doors.open(made)
      const running = runtime === undefined ? Option.none() : yield* runtime.adopt(made, socket)
      if (Option.isSome(running)) {
        const news = remembered.state === "begun" ? [started(remembered, running.value.startedAt ?? (yield* moment))] : []
        yield* yield* follow(remembered, running.value, news)
        continue
      }
      yield* doors.close(made.attemptId)
      yield* Effect.forEach(runtimes.values(), ({ endOrphan }) => endOrphan(made.attemptId), { discard: true })
      const at = yield* moment
      const over = exited(remembered, at, { cause: "agent_restarted" })
      yield* tellEnd(remembered, remembered.state === "begun" ? [started(remembered, at), over] : [over])
    }
    const alive = new Set(begun.map(({ made }) => made.attemptId))
    yield* Effect.forEach(runtimes.values(), ({ clear }) => clear?.(alive) ?? Effect.void, { discard: true })
  })

  const handle = (commit: StoredCommit): Effect.Effect<void> =>
    Effect.gen(function*() {
      const { facts, unreadable } = readable(commit)
      for (const { name, reason } of unreadable) {
        // It names no attempt that we could refuse; the scheduler's view is that the host holds it. Say so loudly.
        yield* Effect.logError(`A fact ${name} about this host's work cannot be read and is not carried out: ${reason.message}`)
      }
      const telling: Array<Told> = []
      for (const fact of facts) telling.push(...yield* carryOut(fact))
      yield* Effect.all(telling, { concurrency: "unbounded", discard: true })
    })

  const carryOut = ({ event, id, partOf }: Fact): Effect.Effect<ReadonlyArray<Told>> => {
    switch (event._tag) {
      case "PlacementMade":
        return Effect.map(begin({ made: event, causedBy: id, partOf }), (told) => [told])
      case "PlacementWithdrawn":
        return Effect.as(withdraw(event), [])
      // What may be done for it has become less while it runs; whether it still may run at all is not ours to judge.
      case "WarrantRevoked":
      case "WarrantNarrowed":
        return Effect.as(end(event.attemptId, "withdrawn"), [])
      default:
        return Effect.succeed([])
    }
  }

  /** Each attempt may go on for as long as its job says; what was placed before this host was declared lost ends. */
  const renewed = (held: Lease): Effect.Effect<void> =>
    Effect.forEach([...underway.values()], ({ running, stopping, story: { made } }) =>
      isVoid(held, made.fence)
        ? Deferred.succeed(stopping, "lease_ended")
        : running.extend(deadlineOf(held, made.spec.onSilence.keepMs)), { discard: true })

  const overAll = (ending: ReadonlyArray<Underway>) => Effect.forEach(ending, ({ over }) => Deferred.await(over), { discard: true })

  return {
    recover,
    handle,
    renewed,
    running: () => underway.size,
    /** Waits for the ends of what became void. */
    voidEnded: (held: Lease) => Effect.suspend(() => overAll([...underway.values()].filter(({ story }) => isVoid(held, story.made.fence)))),
    /** Waits until nothing runs any more. */
    allEnded: Effect.suspend(() => overAll([...underway.values()])),
    /** Ends all that runs, and waits for it. */
    endAll: (cause: AttemptExited["cause"]) => Effect.suspend(() => {
      const all = [...underway.values()]
      return Effect.andThen(Effect.forEach(all, ({ stopping }) => Deferred.succeed(stopping, cause), { discard: true }), overAll(all))
    })
  }
})
