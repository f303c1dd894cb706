import { type Fact, Journal, type JournalUnavailable, readable, speaksForItself, type StoredCommit } from "@millrace/journal"
import {
  type Cut, type Digest, encodeFact, type EventReceived, type FactId, filterOf, type GrantId, type JobId, type JobSubmitted, type Kind, type Principal,
  Program, type TriggerDefined, type TriggerName, type WorkspaceName
} from "@millrace/schemas"
import { type Caller, Keyring, openValue, sealValue, supervise, traced } from "@millrace/service"
import { Clock, Context, Duration, Effect, Fiber, Layer, Queue, Result, Schema } from "effect"
import { hash } from "node:crypto"
import { digestOf, IdempotencyKey, jobIdOf, JobRequest, programOf, specOf } from "../domain/request.ts"
import { dueBy, dueText, type Happening, kindsTelling, matches, pathBehind, readOf, seenFromOutside, timetable, type TimetableUnreadable } from "../domain/trigger.ts"
import { Entrance, type EntranceRefusal } from "./entrance.ts"
import { Gate, type NotAllowed, type RefusalUntold, type ViewStale } from "./gate.ts"
import { Submissions, vouches } from "./submissions.ts"
import { TriggerWords } from "./trigger-words.ts"

/** What a trigger is to wait for, and what it starts. */
export interface Definition {
  readonly on: TriggerDefined["on"]
  readonly job: JobRequest
  readonly perMinuteMax: number
}

/** A trigger that could never fire, or would fire for itself. */
export class TriggerUnfit extends Schema.TaggedError<TriggerUnfit>()("TriggerUnfit", { what: Schema.String, where: Schema.String, remedy: Schema.String }) {}

export class TriggerUnknown extends Schema.TaggedError<TriggerUnknown>()("TriggerUnknown", { trigger: Schema.String }) {}

type Refused = NotAllowed | ViewStale | RefusalUntold | EntranceRefusal

const sealProgram = sealValue(Program)
const openProgram = openValue(Program)
/** What happened is handed to the program in `MILLRACE_EVENT` up to this size; beyond it only its name is. */
const eventBytesMax = 8 * 1024
/** How long a timer sleeps at most before it looks at the clock again, in ms: clocks are set. */
const sleepMsMax = 60_000

/** Defines triggers, and starts what they are to start: once for each event, in the name of whoever defined them. */
export class Triggers extends Context.Service<Triggers, {
  readonly define: (caller: Caller["Service"], name: TriggerName, definition: Definition) => Effect.Effect<Cut, Refused | TriggerUnfit | TimetableUnreadable>
  readonly remove: (caller: Caller["Service"], name: TriggerName) => Effect.Effect<Cut, Refused | TriggerUnknown>
}>()("millrace/gateway/Triggers") {
  static readonly layer: Layer.Layer<Triggers, never, Entrance | Gate | Journal | Keyring | Submissions | TriggerWords> = Layer.effect(
    Triggers,
    Effect.gen(function*() {
      const entrance = yield* Entrance
      const gate = yield* Gate
      const journal = yield* Journal
      const keyring = yield* Keyring
      const submissions = yield* Submissions
      const { book, say, words } = yield* TriggerWords

      const place = (workspace: WorkspaceName, name: TriggerName) => `${workspace}/trigger/${name}`

      const define = Effect.fnUntraced(function*(caller: Caller["Service"], name: TriggerName, { job, on, perMinuteMax }: Definition) {
        yield* fit(on)
        const { workspace } = caller
        const requestDigest = digestOf({ on, job, perMinuteMax })
        const acting = yield* gate.pass(caller, { action: "trigger.define", within: ["trigger", name], argumentsDigest: requestDigest })
        yield* hearing(caller, on, requestDigest)
        // What it starts later is started in the definer's name alone: all else that binds the definer now is looked at now.
        const { depth } = yield* entrance.weigh(caller, keyOf(name, "its definition"), job)
        const known = book.get(workspace, name)
        const grant = job.grant ?? caller.grant
        if (known !== undefined && known.defined.requestDigest === requestDigest && known.defined.definedBy === caller.principal && known.defined.grant === grant && (known.defined.depth ?? 0) === depth) return { GATEWAY: known.sequence }
        const program = yield* Effect.provideService(sealProgram(workspace, programOf(job), place(workspace, name)), Keyring, keyring)
        return yield* say({
          _tag: "TriggerDefined",
          workspace,
          trigger: name,
          on,
          spec: specOf(job, program, vouches(caller)),
          ...(grant === undefined ? {} : { grant }),
          definedBy: caller.principal,
          perMinuteMax,
          ...(depth === 0 ? {} : { depth }),
          requestDigest,
          decision: acting.decision
        }, caller.principal)
      })

      /** Whoever waits for what is said is told it, so it must be allowed to read it. */
      const hearing = (caller: Caller["Service"], on: TriggerDefined["on"], argumentsDigest: Digest) =>
        Effect.forEach(readsOf(on), ({ action, noun }) => gate.pass(caller, { action, within: [noun, "any"], argumentsDigest }), { discard: true })

      const remove = Effect.fnUntraced(function*(caller: Caller["Service"], name: TriggerName) {
        const { workspace } = caller
        const acting = yield* gate.pass(caller, { action: "trigger.define", within: ["trigger", name], argumentsDigest: digestOf({ remove: name }) })
        if (book.get(workspace, name) === undefined) return yield* new TriggerUnknown({ trigger: name })
        return yield* say({ _tag: "TriggerRemoved", workspace, trigger: name, removedBy: caller.principal, decision: acting.decision }, caller.principal)
      })

      /** The jobs behind what happened, the nearest first: its own, and those whose programs submitted it. */
      const behind = Effect.fnUntraced(function*(workspace: WorkspaceName, { body }: Happening): Effect.fn.Return<ReadonlyArray<JobSubmitted>, JournalUnavailable> {
        const chain: Array<JobSubmitted> = []
        let jobId = (body as { readonly jobId?: JobId }).jobId
        while (jobId !== undefined && chain.length < 32) {
          const found: JobSubmitted | undefined = yield* Effect.catchTag(submissions.find(workspace, jobId), "JobUnknown", () => Effect.succeed(undefined))
          if (found === undefined) break
          chain.push(found)
          if (found.origin !== undefined) break
          jobId = found.parent?.jobId
        }
        return chain
      })

      const tellFired = (defined: TriggerDefined, { factId, key }: Happening, jobId: JobId) =>
        say({ _tag: "TriggerFired", workspace: defined.workspace, trigger: defined.trigger, event: key, jobId }, actor, factId)
      const tellRefused = (defined: TriggerDefined, happening: Pick<Happening, "key"> & { readonly factId?: FactId }, reason: Parameters<typeof refusedWord>[2], detail: string) =>
        say(refusedWord(defined, happening.key, reason, detail), actor, happening.factId)

      /** Starts the job of one event, or says why not. Doing it again finds the same job and says nothing twice. */
      const fire = Effect.fnUntraced(function*(defined: TriggerDefined, happening: Happening) {
        const { trigger, workspace } = defined
        if (book.hasTold(defined, happening.key)) return
        const key = keyOf(trigger, happening.key)
        const jobId = jobIdOf(workspace, key)
        if ((yield* journal.last({ kind: "job", scope: workspace, story: jobId })) !== undefined) return yield* tellFired(defined, happening, jobId)
        const path = pathBehind(yield* behind(workspace, happening))
        const refusal = book.refuses(defined, path, yield* Clock.currentTimeMillis)
        if (refusal !== undefined) return yield* tellRefused(defined, happening, refusal.reason, refusal.detail)
        const heard = yield* Effect.result(hearing(speaker(defined), defined.on, defined.requestDigest))
        if (Result.isFailure(heard)) {
          return heard.failure._tag === "NotAllowed" ? yield* tellRefused(defined, happening, "not_allowed", deniedText(heard.failure)) : yield* heard.failure
        }
        const template = yield* Effect.result(Effect.provideService(openProgram(defined.spec.program!, place(workspace, trigger)), Keyring, keyring))
        if (Result.isFailure(template)) {
          return template.failure._tag === "KeyringUnavailable"
            ? yield* template.failure
            : yield* tellRefused(defined, happening, "invalid", `its template cannot be opened any more: ${template.failure.message}`)
        }
        const entered = yield* Effect.result(entrance.enter(speaker(defined), key, requestOf(defined, template.success, happening), {
          origin: { trigger, firedBy: happening.factId, path, ...(defined.depth === undefined ? {} : { depth: defined.depth }) },
          causedBy: happening.factId
        }))
        if (Result.isSuccess(entered)) return yield* tellFired(defined, happening, entered.success.jobId)
        const { failure } = entered
        switch (failure._tag) {
          // It has fired for this event already, by a template that was replaced since.
          case "IdempotencyMismatch":
            return yield* tellFired(defined, happening, jobId)
          case "NotAllowed":
            return yield* tellRefused(defined, happening, "not_allowed", deniedText(failure))
          case "RequestUnfit":
            return yield* tellRefused(defined, happening, "invalid", failure.what)
          default:
            return yield* failure
        }
      })

      /** Hears one kind of story for one trigger, from its definition on, by a place of its own in the log. */
      const listening = (defined: TriggerDefined, sequence: number, sinceMs: number, kind: Kind) =>
        journal.react(
          { stream: kind.stream, durable: durableOf(defined, sequence, kind), filter: filterOf(kind, kind.scope === "workspace" ? defined.workspace : undefined), sinceMs },
          (commit) => traced("gateway.trigger", commit, Effect.forEach(happeningsOf(commit, defined), (happening) => fire(defined, happening), { discard: true }))
        )

      const byTheClock = Effect.fnUntraced(function*(defined: TriggerDefined) {
        if (defined.on._tag !== "cron") return
        const cron = timetable(defined.on.expression, defined.on.timeZone)
        if (Result.isFailure(cron)) return yield* Effect.logError(cron.failure.message)
        while (true) {
          const nowMs = yield* Clock.currentTimeMillis
          const { fires, missed, nextAtMs } = dueBy(cron.success, book.lastDueMs(defined), nowMs)
          if (missed !== undefined && !book.hasTold(defined, dueText(missed.newestMs))) {
            yield* tellRefused(defined, { key: dueText(missed.newestMs) }, "missed", `${missed.count} due ${missed.count === 1 ? "time" : "times"} passed while nobody was there, the last at ${new Date(missed.newestMs).toISOString()}`)
          }
          if (fires !== undefined) yield* fire(defined, { key: dueText(fires), factId: definitionId(defined), name: "due", body: { dueAtMs: fires } })
          yield* Effect.sleep(Duration.millis(Math.min(sleepMsMax, Math.max(10, nextAtMs - (yield* Clock.currentTimeMillis)))))
        }
      })

      /** Where the definition itself lies names the cause of what the clock starts. */
      const definitions = new Map<string, FactId>()
      const definitionId = ({ trigger, workspace }: TriggerDefined): FactId => definitions.get(`${workspace} ${trigger}`)!

      const stop = (running: Running | undefined): Effect.Effect<void> =>
        running === undefined ? Effect.void : Fiber.interrupt(running.fiber)

      const forget = ({ defined, sequence }: Running) =>
        Effect.forEach(kindsOf(defined.on), (kind) => Effect.ignore(journal.forget(kind.stream, durableOf(defined, sequence, kind))), { discard: true })

      const keep = Effect.scoped(Effect.gen(function*() {
        const running = new Map<string, Running>()
        const heard = yield* words
        while (true) {
          const word = yield* Queue.take(heard)
          if (word._tag !== "TriggerDefined" && word._tag !== "TriggerRemoved") continue
          const key = `${word.workspace} ${word.trigger}`
          const before = running.get(key)
          const standing = book.get(word.workspace, word.trigger)
          if (standing?.sequence === before?.sequence) continue
          yield* stop(before)
          if (before !== undefined) yield* forget(before)
          running.delete(key)
          if (standing === undefined) continue
          const { defined, sequence, sinceMs } = standing
          definitions.set(key, yield* idOfDefinition(defined, sequence))
          const hearing = defined.on._tag === "cron"
            ? byTheClock(defined)
            : Effect.forEach(kindsOf(defined.on), (kind) => listening(defined, sequence, sinceMs, kind), { concurrency: "unbounded", discard: true })
          const fiber = yield* Effect.forkScoped(supervise(hearing, { name: `gateway.trigger ${key}` }))
          running.set(key, { defined, sequence, fiber })
        }
      }))

      const idOfDefinition = ({ workspace }: TriggerDefined, sequence: number) =>
        Effect.map(journal.story({ kind: "trigger", scope: workspace }), (story) => story.find(({ place }) => place.sequence === sequence)!.facts[0]!.id)

      yield* Effect.forkScoped(supervise(keep, { name: "gateway.triggers" }))
      return { define, remove }
    })
  )
}

const actor = "service:gateway" as Principal

interface Running {
  readonly defined: TriggerDefined
  readonly sequence: number
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

const deniedText = ({ action, principal, reason }: NotAllowed): string => `${principal} may not do ${action}: ${reason}`

/** What must be allowed to hear what a trigger waits for. Events from outside are told to triggers and to nobody else. */
const readsOf = (on: TriggerDefined["on"]) => on._tag === "fact" ? [...new Set(kindsTelling(on.name).map(readOf))] : []

const kindsOf = (on: TriggerDefined["on"]): ReadonlyArray<Kind> =>
  on._tag === "cron" ? [] : kindsTelling(on._tag === "event" ? "EventReceived" : on.name)

/** A place in the log for one definition and one kind of story. Streams keep them apart by name. */
const durableOf = ({ trigger, workspace }: TriggerDefined, sequence: number, { kind, only }: Kind): string =>
  `gateway-trigger-${workspace}-${trigger}-${sequence}-${kind}${only === undefined ? "" : `-${only}`}`

/** The key of the one job that an event may start. A request's own key never has this form: it would need a dot. */
const keyOf = (trigger: TriggerName, event: string): IdempotencyKey =>
  `trigger.${trigger}.${hash("sha256", event, "hex").slice(0, 40)}` as IdempotencyKey

/** A trigger speaks as whoever defined it, and under no more than the grant that it was defined under. */
const speaker = ({ definedBy, grant, workspace }: TriggerDefined): Caller["Service"] => ({
  principal: definedBy,
  workspace,
  ...(grant === undefined ? {} : { grant })
})

const requestOf = ({ grant, spec, trigger }: TriggerDefined, program: Program, { body, key }: Happening): JobRequest => {
  const { program: _, ...rest } = spec
  const event = JSON.stringify(body)
  return {
    ...rest,
    ...program,
    env: {
      ...program.env,
      MILLRACE_TRIGGER: trigger,
      MILLRACE_EVENT_NAME: key,
      ...(event.length <= eventBytesMax ? { MILLRACE_EVENT: event } : {})
    },
    name: trigger as unknown as NonNullable<JobRequest["name"]>,
    ...(grant === undefined ? {} : { grant: grant as GrantId })
  }
}

const refusedWord = (
  { trigger, workspace }: TriggerDefined,
  event: string,
  reason: "loop" | "rate" | "not_allowed" | "invalid" | "missed",
  detail: string
) => ({ _tag: "TriggerRefused", workspace, trigger, event, reason, detail }) as const

/** What of a commit a trigger waits for: facts of its own workspace that match. */
const happeningsOf = (commit: StoredCommit, defined: TriggerDefined): ReadonlyArray<Happening> =>
  readable(commit).facts.flatMap((fact) => {
    if ((fact.event as { readonly workspace?: string }).workspace !== defined.workspace || !speaksForItself(commit, fact.event)) return []
    const happening = happeningOf(fact)
    return matches(defined, happening) ? [told(happening)] : []
  })

const happeningOf = ({ event, id }: Fact): Happening => ({
  key: event._tag === "EventReceived" ? eventName(event) : id,
  factId: id,
  name: event._tag,
  body: event._tag === "EventReceived" ? event : encodeFact(event).body
})

/** What the program is told: an event as its sender wrote it, a fact as the log has it. */
const told = (happening: Happening): Happening =>
  happening.name === "EventReceived" ? { ...happening, body: seenFromOutside(happening.body as EventReceived) } : happening

const eventName = ({ eventId, source }: EventReceived): string => `${source} ${eventId}`

/** Whether such a trigger could ever fire, and for something other than itself. */
const fit = (on: TriggerDefined["on"]): Effect.Effect<void, TriggerUnfit | TimetableUnreadable> => {
  switch (on._tag) {
    case "cron":
      return Effect.asVoid(Effect.fromResult(timetable(on.expression, on.timeZone)))
    case "fact":
      return kindsTelling(on.name).length > 0
        ? Effect.void
        : Effect.fail(new TriggerUnfit({
          what: `no fact that a trigger may wait for is called ${on.name.slice(0, 60)}`,
          where: "on.name",
          remedy: "take a name from the catalogue, such as JobSettled; what triggers themselves say starts nothing"
        }))
    case "event":
      return Effect.void
  }
}

