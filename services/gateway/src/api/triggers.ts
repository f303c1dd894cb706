import type { TriggerName, WorkspaceName } from "@millrace/schemas"
import { Caller } from "@millrace/service"
import { Clock, Effect, Result } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { dueBy, timetable, type TriggerBook } from "../domain/trigger.ts"
import { digestOf } from "../domain/request.ts"
import { Gate } from "../reactors/gate.ts"
import { Triggers } from "../reactors/triggers.ts"
import { TriggerWords } from "../reactors/trigger-words.ts"
import { Api } from "./api.ts"
import { BadRequest, logSilent, NotFound } from "./errors.ts"
import { refusalOf, submissionRefusal } from "./refusals.ts"
import type { TriggerView } from "./trigger-endpoints.ts"

/** How long a write waits for the log before it says that it does not know, in ms. */
const sayMsMax = 10_000
const listedFirings = 20

/** What the outside asks of triggers, answered from the live fold of their stories. */
export const TriggersLive = HttpApiBuilder.group(Api, "triggers", Effect.fn(function*(handlers) {
  const gate = yield* Gate
  const triggers = yield* Triggers
  const { book } = yield* TriggerWords

  const reading = Effect.fnUntraced(function*() {
    const caller = yield* Caller
    yield* Effect.mapError(gate.pass(caller, { action: "trigger.read", within: [], argumentsDigest: digestOf("triggers") }), refusalOf)
    return caller.workspace
  })
  const patiently = Effect.timeoutOrElse({ duration: sayMsMax, orElse: () => Effect.fail(logSilent) })

  return handlers.handleAll({
    define: Effect.fnUntraced(function*({ params, payload }) {
      const caller = yield* Caller
      const cut = yield* triggers.define(caller, params.name, payload).pipe(
        Effect.mapError((error) => {
          switch (error._tag) {
            case "TriggerUnfit":
              return new BadRequest({ code: "trigger_unfit", what: error.what, where: error.where, remedy: error.remedy })
            case "TimetableUnreadable":
              return new BadRequest({ code: "timetable_unreadable", what: error.message, where: "on", remedy: "write five fields of cron, and a zone of the IANA time zone database" })
            default:
              return submissionRefusal(error)
          }
        }),
        patiently
      )
      return { cut }
    }),
    remove: Effect.fnUntraced(function*({ params }) {
      const caller = yield* Caller
      const cut = yield* triggers.remove(caller, params.name).pipe(
        Effect.mapError((error) => error._tag === "TriggerUnknown" ? noSuchTrigger(error.trigger) : submissionRefusal(error)),
        patiently
      )
      return { cut }
    }),
    list: Effect.fnUntraced(function*() {
      const workspace = yield* reading()
      const nowMs = yield* Clock.currentTimeMillis
      return { triggers: book.of(workspace).map(({ defined }) => viewOf(book, workspace, defined.trigger, nowMs, listedFirings)!) }
    }),
    show: Effect.fnUntraced(function*({ params }) {
      const workspace = yield* reading()
      const trigger = viewOf(book, workspace, params.name, yield* Clock.currentTimeMillis)
      return trigger === undefined ? yield* noSuchTrigger(params.name) : { trigger }
    })
  })
}))

const viewOf = (book: TriggerBook, workspace: WorkspaceName, name: TriggerName, nowMs: number, firingsMax = Number.MAX_SAFE_INTEGER): TriggerView | undefined => {
  const standing = book.get(workspace, name)
  if (standing === undefined) return undefined
  const { defined, sinceMs } = standing
  const cron = defined.on._tag === "cron" ? timetable(defined.on.expression, defined.on.timeZone) : undefined
  return {
    name,
    on: defined.on,
    definedBy: defined.definedBy,
    ...(defined.grant === undefined ? {} : { grant: defined.grant }),
    perMinuteMax: defined.perMinuteMax,
    sinceMs,
    ...(cron === undefined || Result.isFailure(cron) ? {} : { nextAtMs: dueBy(cron.success, nowMs, nowMs).nextAtMs }),
    firings: [...book.firings(defined)].reverse().slice(0, firingsMax)
  }
}

const noSuchTrigger = (name: string) =>
  new NotFound({ code: "trigger_unknown", what: `there is no trigger ${name}`, where: "this workspace", remedy: "list the triggers you have with: millrace triggers" })
