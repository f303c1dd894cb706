import { Blobs } from "@millrace/blobs"
import { deriveId, timeOfId } from "@millrace/decider"
import { type Fact, type NewFact, readable, type StoredCommit } from "@millrace/journal"
import { type AttemptExited, type FactId, type MillFact, type PlacementMade, type PlacementWithdrawn, Program } from "@millrace/schemas"
import { Keyring, openValue, WarrantVerifier } from "@millrace/service"
import { Clock, Deferred, Duration, Effect, Option } from "effect"
import { judge } from "../domain/attempt.ts"
import { Ledger } from "../machine/ledger.ts"
import { Machine } from "../machine/machine.ts"
import { CannotStart, type Ended, type Running, Runtimes } from "../machine/runtime.ts"
import type { Voice } from "./voice.ts"

const openProgram = openValue(Program)

/** What an attempt's facts share. */
interface Story {
  readonly made: PlacementMade
  readonly causedBy: FactId
  readonly partOf: FactId
}

/** Waits until what was said stands in the log. */
type Told = Effect.Effect<void>

interface Underway {
  readonly story: Story
  readonly stopping: Deferred.Deferred<AttemptExited["cause"]>
}

/**
 * Carries out what the scheduler placed here, and tells what became of it.
 *
 * Each placement is delivered at least once. The ledger is written before the work begins, ids derive
 * from the placement, and a voice says nothing twice: so hearing a placement again starts nothing and
 * adds nothing. An agent that restarts first tells the end of everything that the one before had begun.
 */
export const openPlacements = Effect.fnUntraced(function*(voice: Voice) {
  const blobs = yield* Blobs
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
    const nowMs = yield* Clock.currentTimeMillis
    const judgement = judge({ hostId: machine.hostId, capabilities: machine.capabilities, attempts: ledger.attempts, fences: ledger.fences, held: ledger.held(), nowMs }, made)
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

  const refuse = (story: Story, reason: Parameters<typeof refused>[1], detail: string) =>
    tellEnd(story, [refused(story, reason, detail)])

  const noteTold = ({ made }: Story): Effect.Effect<void> => Effect.orDie(ledger.remember(made.attemptId, { state: "told", made }))

  /** The last words of an attempt, and then the ledger's. */
  const tellEnd = (story: Story, facts: ReadonlyArray<NewFact>): Told => voice.say(facts, noteTold(story))

  const start = Effect.fnUntraced(function*(story: Story): Effect.fn.Return<Told> {
    const { made } = story
    yield* Effect.orDie(ledger.remember(made.attemptId, { state: "begun", ...story }))
    const program = yield* Effect.result(opened(made))
    if (program._tag === "Failure") return refuse(story, "program_unreadable", program.failure.message)
    const runtime = runtimes.get(made.spec.runtime)
    const running = yield* Effect.result(runtime === undefined
      ? Effect.fail(new CannotStart({ runtime: made.spec.runtime, detail: "this host has no such runtime" }))
      : runtime.start({ made, program: program.success, deadlineMs: Number.MAX_SAFE_INTEGER }))
    if (running._tag === "Failure") return refuse(story, "cannot_start", running.failure.detail)
    const startedAt = started(story, yield* moment)
    if (made.spec.runtime === "noop") {
      return tellEnd(story, [startedAt, exited(story, yield* moment, { ...(yield* running.success.ended), cause: "exited" })])
    }
    const here: Underway = { story, stopping: yield* Deferred.make<AttemptExited["cause"]>() }
    underway.set(made.attemptId, here)
    const told = yield* Deferred.make<void>()
    yield* Effect.forkIn(Effect.andThen(Deferred.await(told), watch(here, running.success)), scope)
    return Effect.andThen(
      voice.say([startedAt], Effect.orDie(ledger.remember(made.attemptId, { state: "running", ...story }))),
      Deferred.succeed(told, undefined)
    )
  })

  /** Sees an attempt to its end: it ends by itself, is stopped, or runs out of time. */
  const watch = Effect.fnUntraced(function*({ stopping, story }: Underway, running: Running) {
    const stopped = yield* Effect.raceFirst(
      Effect.as(running.ended, Option.none<AttemptExited["cause"]>()),
      Effect.map(
        Effect.timeoutOrElse(Deferred.await(stopping), {
          duration: Duration.millis(story.made.spec.runMsMax),
          orElse: () => Effect.succeed("timed_out" as const)
        }),
        Option.some
      )
    )
    if (Option.isSome(stopped)) yield* running.stop
    const ended = yield* running.ended
    const artefacts = yield* kept(story, ended)
    const end = exited(story, yield* moment, { ...ended, cause: Option.getOrElse(stopped, () => "exited" as const) })
    yield* tellEnd(story, [...artefacts, end])
    underway.delete(story.made.attemptId)
  })

  /** Output leaves the host before its attempt is settled. A store that is full costs the output, never the end. */
  const kept = Effect.fnUntraced(function*(story: Story, { output }: Ended) {
    const facts: Array<NewFact> = []
    for (const { bytes, droppedBytes, name } of output) {
      const blob = yield* Effect.option(Effect.retry(blobs.putBytes(bytes), { times: 3 }))
      if (Option.isNone(blob)) yield* Effect.logError(`${name} of ${story.made.attemptId} could not be kept`)
      else facts.push(about(story, name, { _tag: "ArtefactKept", ...which(story), name, blob: blob.value, droppedBytes }))
    }
    return facts
  })

  const withdraw = Effect.fnUntraced(function*({ attemptId, cause }: PlacementWithdrawn) {
    const here = underway.get(attemptId)
    if (here !== undefined) yield* Deferred.succeed(here.stopping, cause === "timed_out" ? "timed_out" : "withdrawn")
    else if (!ledger.attempts.has(attemptId)) yield* Effect.orDie(ledger.remember(attemptId, { state: "withdrawn" }))
  })

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

  /** Tells what the agent before this one began and did not see to its end. */
  const recover = Effect.gen(function*() {
    yield* noteLastWords
    for (const [attemptId, remembered] of [...ledger.attempts]) {
      if (remembered.state !== "begun" && remembered.state !== "running") continue
      for (const runtime of runtimes.values()) yield* runtime.endOrphan(attemptId)
      const at = yield* moment
      const end = exited(remembered, at, { cause: "agent_restarted" })
      yield* tellEnd(remembered, remembered.state === "begun" ? [started(remembered, at), end] : [end])
    }
  })

  const handle = (commit: StoredCommit): Effect.Effect<void> =>
    Effect.gen(function*() {
      const { facts, unreadable } = readable(commit)
      for (const { name, reason } of unreadable) {
        // It names no attempt that we could refuse; the scheduler's view is that the host holds it. Say so loudly.
        yield* Effect.logError(`A placement fact ${name} cannot be read and is not carried out: ${reason.message}`)
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
      default:
        return Effect.succeed([])
    }
  }

  yield* recover
  return { handle }
})

const which = ({ made: { attempt, attemptId, fence, hostId, jobId, workspace } }: Story) => ({ jobId, workspace, hostId, attempt, attemptId, fence })

/** The id of what is said of an attempt. It derives from the placement, so whoever tells it again tells the same. */
const factOf = ({ causedBy, made: { fence } }: Story, what: string): FactId =>
  deriveId<FactId>("fct", timeOfId(causedBy), causedBy, "host", what, fence.epoch, fence.sequence)

const about = (story: Story, what: string, event: MillFact): NewFact => ({
  id: factOf(story, what),
  partOf: story.partOf,
  causedBy: story.causedBy,
  event
})

const started = (story: Story, at: { readonly bootId: string; readonly hostMs: number }): NewFact =>
  about(story, "started", { _tag: "AttemptStarted", ...which(story), ...at })

const exited = (
  story: Story,
  at: { readonly bootId: string; readonly hostMs: number },
  { cause, code, signal }: { readonly cause: AttemptExited["cause"]; readonly code?: number; readonly signal?: string }
): NewFact =>
  about(story, "exited", {
    _tag: "AttemptExited",
    ...which(story),
    ...at,
    ...(code === undefined ? {} : { code }),
    ...(signal === undefined ? {} : { signal }),
    cause
  })

const refused = (story: Story, reason: Extract<MillFact, { _tag: "AttemptRefused" }>["reason"], detail: string): NewFact =>
  about(story, "refused", { _tag: "AttemptRefused", ...which(story), reason, detail })
