import type { Condition, FactId, JobId, MillFact, TriggerDefined, TriggerName, WorkspaceName } from "@millrace/schemas"
import { DateTime, Result, Schema } from "effect"
import * as Cron from "effect/Cron"

/** More triggers than this in one chain of causes count as a loop, even if no trigger comes twice. */
export const chainMax = 8
/** What was due while nobody was there fires once more if it is no older than this, in ms. */
export const missedMsMax = 3_600_000
const minuteMs = 60_000

/** Something that may start a job: a fact of the workspace, or an event from outside, as plain values. */
export interface Happening {
  /** Names it forever: a fact's id, or an event's source and id. */
  readonly key: string
  readonly factId: FactId
  readonly name: string
  readonly body: unknown
}

/** Whether what happened is what the trigger waits for. A path that leads nowhere is a field that is not there. */
export const matches = ({ on }: Pick<TriggerDefined, "on">, happening: Happening): boolean => {
  switch (on._tag) {
    case "fact":
      return on.name === happening.name && on.where.every((condition) => holds(condition, happening.body))
    case "event": {
      if (happening.name !== "EventReceived") return false
      const event = happening.body as Extract<MillFact, { _tag: "EventReceived" }>
      return event.eventType === on.type && on.where.every((condition) => holds(condition, seenFromOutside(event)))
    }
    case "cron":
      return false
  }
}

/** The fields of a CloudEvent by the names that it has outside, so that conditions read as its sender writes them. */
export const seenFromOutside = ({ body, eventId, eventType, source, subject }: Extract<MillFact, { _tag: "EventReceived" }>): unknown => ({
  id: eventId,
  source,
  type: eventType,
  ...(subject === undefined ? {} : { subject }),
  ...(body === undefined ? {} : { data: parsed(body) })
})

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const holds = ({ is, path, value }: Condition, body: unknown): boolean => {
  const found = path.split(".").reduce<unknown>((at, key) =>
    typeof at === "object" && at !== null && Object.hasOwn(at, key) ? (at as Record<string, unknown>)[key] : undefined, body)
  switch (is) {
    case "exists":
      return found !== undefined
    case "equal":
      return found === value
    case "not_equal":
      return found !== value
    case "prefix":
      return typeof found === "string" && found.startsWith(String(value ?? ""))
  }
}

/** Why a trigger that matched starts nothing. */
export interface Refusal {
  readonly reason: Extract<MillFact, { _tag: "TriggerRefused" }>["reason"]
  readonly detail: string
}

/**
 * Every trigger of the cell, and what it takes to bound them: which triggers stand behind a job, and how
 * often each has fired lately. A fold of `trigger` and of the jobs that triggers started.
 */
export class TriggerBook {
  readonly #triggers = new Map<string, { readonly defined: TriggerDefined; readonly sinceMs: number }>()
  readonly #paths = new Map<JobId, ReadonlyArray<TriggerName>>()
  readonly #fired = new Map<string, Array<number>>()
  readonly #lastDue = new Map<string, number>()

  /** Jobs whose chain is remembered. The oldest are forgotten: a chain is short-lived, or it is a cron's. */
  static readonly jobsMax = 200_000

  hear(event: MillFact, storedAtMs: number): void {
    switch (event._tag) {
      case "TriggerDefined":
        this.#triggers.set(keyOf(event), { defined: event, sinceMs: storedAtMs })
        return
      case "TriggerRemoved":
        this.#triggers.delete(keyOf(event))
        this.#lastDue.delete(keyOf(event))
        return
      case "TriggerFired":
        this.#noteFired(keyOf(event), storedAtMs)
        this.#noteDue(keyOf(event), event.event)
        return
      case "TriggerRefused":
        this.#noteDue(keyOf(event), event.event)
        return
      case "JobSubmitted": {
        const path = event.origin !== undefined
          ? [...event.origin.path, event.origin.trigger]
          : event.parent === undefined ? undefined : this.#paths.get(event.parent.jobId)
        if (path === undefined) return
        this.#paths.set(event.jobId, path)
        if (this.#paths.size > TriggerBook.jobsMax) this.#paths.delete(this.#paths.keys().next().value!)
        return
      }
      default:
        return
    }
  }

  /** Those of one workspace, by name. */
  of(workspace: WorkspaceName): ReadonlyArray<TriggerDefined> {
    return [...this.#triggers.values()].flatMap(({ defined }) => defined.workspace === workspace ? [defined] : [])
      .sort((left, right) => (left.trigger < right.trigger ? -1 : 1))
  }

  all(): Iterable<{ readonly defined: TriggerDefined; readonly sinceMs: number }> {
    return this.#triggers.values()
  }

  get(workspace: WorkspaceName, trigger: TriggerName): { readonly defined: TriggerDefined; readonly sinceMs: number } | undefined {
    return this.#triggers.get(keyOf({ workspace, trigger }))
  }

  /** The triggers behind what happened, oldest first. */
  pathOf({ body }: Happening): ReadonlyArray<TriggerName> {
    const jobId = (body as { readonly jobId?: JobId }).jobId
    return (jobId === undefined ? undefined : this.#paths.get(jobId)) ?? []
  }

  /** Why a trigger may not fire for what happened, if it may not. */
  refuses({ perMinuteMax, trigger, workspace }: TriggerDefined, path: ReadonlyArray<TriggerName>, atMs: number): Refusal | undefined {
    if (path.includes(trigger)) return { reason: "loop", detail: `${trigger} already stands in this chain of causes: ${[...path, trigger].join(" > ")}` }
    if (path.length >= chainMax) return { reason: "loop", detail: `the chain of causes is ${path.length} triggers long, and ${chainMax} are the most: ${path.join(" > ")}` }
    const lately = (this.#fired.get(keyOf({ workspace, trigger })) ?? []).filter((firedAtMs) => firedAtMs > atMs - minuteMs)
    return lately.length >= perMinuteMax ? { reason: "rate", detail: `it fired ${lately.length} times within a minute, and ${perMinuteMax} are the most` } : undefined
  }

  /** When a trigger that runs by the clock was last due, as far as it is known; else when it was defined. */
  lastDueMs({ trigger, workspace }: TriggerDefined): number {
    const key = keyOf({ workspace, trigger })
    return Math.max(this.#lastDue.get(key) ?? 0, this.#triggers.get(key)?.sinceMs ?? 0)
  }

  #noteFired(key: string, atMs: number): void {
    const times = (this.#fired.get(key) ?? []).filter((firedAtMs) => firedAtMs > atMs - minuteMs)
    this.#fired.set(key, [...times, atMs])
  }

  #noteDue(key: string, event: string): void {
    const dueMs = dueOf(event)
    if (dueMs !== undefined) this.#lastDue.set(key, Math.max(dueMs, this.#lastDue.get(key) ?? 0))
  }
}

const keyOf = ({ trigger, workspace }: { readonly workspace: WorkspaceName; readonly trigger: TriggerName }): string => `${workspace} ${trigger}`

/** The text that names a due time, as `TriggerFired.event` carries it, and back. */
export const dueText = (dueAtMs: number): string => `due ${new Date(dueAtMs).toISOString()}`
const dueOf = (event: string): number | undefined => event.startsWith("due ") ? Date.parse(event.slice(4)) : undefined

/** A time table that cannot be read. */
export class TimetableUnreadable extends Schema.TaggedError<TimetableUnreadable>()("TimetableUnreadable", {
  expression: Schema.String,
  timeZone: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `"${this.expression}" in ${this.timeZone} is no time table: ${this.detail}. Write five fields such as "0 9 * * 1-5", and a zone such as Europe/Berlin`
  }
}

/** Reads five fields of cron in a zone. A sixth, for seconds, is refused: more often than each minute is a loop of its own. */
export const timetable = (expression: string, timeZone: string): Result.Result<Cron.Cron, TimetableUnreadable> => {
  const no = (detail: string) => Result.fail(new TimetableUnreadable({ expression, timeZone, detail }))
  if (expression.trim().split(/\s+/u).length !== 5) return no("it has not five fields")
  const zone = DateTime.zoneMakeNamed(timeZone)
  if (zone._tag === "None") return no("no such time zone is known")
  const cron = Cron.parse(expression, zone.value)
  return Result.isFailure(cron) ? no(cron.failure.message) : Result.succeed(cron.success)
}

/** What a time table wants now. */
export interface Due {
  /** The newest time that is due, unless it is too old to fire. */
  readonly fires: number | undefined
  /** Times that passed while nobody was there: the newest of them, and how many. */
  readonly missed: { readonly newestMs: number; readonly count: number } | undefined
  readonly nextAtMs: number
}

/** The most missed times that are counted one by one. */
const missedCountMax = 10_000

/** What became due after `lastDueMs` up to now. Of several only the newest fires; one that is too old counts as missed. */
export const dueBy = (cron: Cron.Cron, lastDueMs: number, nowMs: number): Due => {
  let newest: number | undefined
  let before: number | undefined
  let count = 0
  let at = after(cron, lastDueMs)
  while (at <= nowMs) {
    before = newest
    newest = at
    count += 1
    // Behind a very long gap the count stops, and only the end of the gap matters.
    at = count === missedCountMax ? after(cron, Math.max(at, nowMs - missedMsMax)) : after(cron, at)
    if (count > 2 * missedCountMax) break
  }
  const nextAtMs = at > nowMs ? at : after(cron, nowMs)
  if (newest === undefined) return { fires: undefined, missed: undefined, nextAtMs }
  return newest >= nowMs - missedMsMax
    ? { fires: newest, missed: before === undefined ? undefined : { newestMs: before, count: count - 1 }, nextAtMs }
    : { fires: undefined, missed: { newestMs: newest, count }, nextAtMs }
}

const after = (cron: Cron.Cron, ms: number): number => Cron.next(cron, new Date(ms)).getTime()
