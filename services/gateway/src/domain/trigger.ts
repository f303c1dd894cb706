import type { ActionName } from "@millrace/authority"
import { type Condition, type FactId, type JobId, type JobSubmitted, type Kind, kinds, type MillFact, nameOf, type TriggerDefined, type TriggerName, type WorkspaceName } from "@millrace/schemas"
import { DateTime, Option, Result, Schema } from "effect"
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
export const seenFromOutside = ({ eventId, eventType, json, source, subject }: Extract<MillFact, { _tag: "EventReceived" }>): unknown => ({
  id: eventId,
  source,
  type: eventType,
  ...(subject === undefined ? {} : { subject }),
  ...(json === undefined ? {} : { data: parsed(json) })
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

/** The kinds of story in which a fact of that name is told. Triggers' own words are none that a trigger hears. */
export const kindsTelling = (name: string): ReadonlyArray<Kind> =>
  (kinds as ReadonlyArray<Kind>).filter((kind) => kind.kind !== "trigger" && kind.facts.some((schema) => nameOf(schema) === name))

/** What somebody must be allowed to do to hear stories of a kind, and to what. */
export interface Read {
  readonly action: ActionName
  readonly noun: string
}

const reads = {
  job: { action: "job.read", noun: "job" },
  snapshot: { action: "snapshot.read", noun: "snapshot" },
  grant: { action: "grant.read", noun: "grant" },
  principal: { action: "principal.read", noun: "principal" },
  decision: { action: "decision.read", noun: "decision" },
  usage: { action: "usage.read", noun: "usage" },
  host: { action: "host.read", noun: "host" },
  capacity: { action: "capacity.read", noun: "lease" },
  trigger: { action: "trigger.read", noun: "hook" },
  log: { action: "log.read", noun: "log" }
} as const satisfies Readonly<Record<string, Read>>

/** The read that tells the same. A kind that no read tells is the log's own. */
export const readOf = ({ kind }: Pick<Kind, "kind">): Read => {
  switch (kind) {
    case "job":
    case "schedule":
    case "placement":
    case "attempt":
    case "blob":
    case "session":
      return reads.job
    case "event":
    case "hook":
      return reads.trigger
    case "snapshot":
    case "image":
      return reads.snapshot
    case "grant":
    case "warrant":
    case "policy":
      return reads.grant
    case "principal":
    case "ask":
    case "answer":
      return reads.principal
    case "decision":
      return reads.decision
    case "budget":
    case "pricebook":
    case "period":
      return reads.usage
    case "host":
    case "admission":
    case "fleet":
      return reads.host
    case "machine":
    case "market":
    case "demand":
    case "plan":
      return reads.capacity
    default:
      return reads.log
  }
}

/** Why a trigger that matched starts nothing. */
export interface Refusal {
  readonly reason: Extract<MillFact, { _tag: "TriggerRefused" }>["reason"]
  readonly detail: string
}

/** One time that a trigger matched, and what came of it. */
export interface Firing {
  readonly event: string
  readonly atMs: number
  readonly jobId?: JobId
  readonly refused?: Refusal
}

/** The triggers behind a job, oldest first, from its own submission and those of the jobs that submitted it. */
export const pathBehind = (jobs: ReadonlyArray<Pick<JobSubmitted, "origin">>): ReadonlyArray<TriggerName> => {
  for (const { origin } of jobs) if (origin !== undefined) return [...origin.path, origin.trigger]
  return []
}

interface Standing {
  readonly defined: TriggerDefined
  /** Where its definition lies, which tells it from one before it under the same name. */
  readonly sequence: number
  readonly sinceMs: number
}

/** Every trigger of the cell, what each did lately, and what bounds it. A fold of the stories of kind `trigger`. */
export class TriggerBook {
  readonly #triggers = new Map<string, Standing>()
  readonly #firings = new Map<string, Array<Firing>>()
  readonly #lastDue = new Map<string, number>()
  readonly #told = new Set<string>()

  /** Firings that are remembered of each trigger. */
  static readonly firingsMax = 1_000
  /** Words that are remembered, so that none is said twice. */
  static readonly toldMax = 100_000

  hear(event: MillFact, { sequence, storedAtMs }: { readonly sequence: number; readonly storedAtMs: number }): void {
    switch (event._tag) {
      case "TriggerDefined":
        this.#triggers.set(keyOf(event), { defined: event, sequence, sinceMs: storedAtMs })
        return
      case "TriggerRemoved":
        this.#triggers.delete(keyOf(event))
        return
      case "TriggerFired":
        return this.#note(event, { event: event.event, atMs: storedAtMs, jobId: event.jobId })
      case "TriggerRefused":
        return this.#note(event, { event: event.event, atMs: storedAtMs, refused: { reason: event.reason, detail: event.detail } })
      default:
        return
    }
  }

  /** Those of one workspace, by name. */
  of(workspace: WorkspaceName): ReadonlyArray<Standing> {
    return [...this.#triggers.values()].filter(({ defined }) => defined.workspace === workspace)
      .sort((left, right) => (left.defined.trigger < right.defined.trigger ? -1 : 1))
  }

  all(): ReadonlyArray<Standing> {
    return [...this.#triggers.values()]
  }

  get(workspace: WorkspaceName, trigger: TriggerName): Standing | undefined {
    return this.#triggers.get(keyOf({ workspace, trigger }))
  }

  /** What a trigger did lately, the newest last. */
  firings(of: { readonly workspace: WorkspaceName; readonly trigger: TriggerName }): ReadonlyArray<Firing> {
    return this.#firings.get(keyOf(of)) ?? []
  }

  /** Whether it is said already what came of an event. */
  hasTold(of: { readonly workspace: WorkspaceName; readonly trigger: TriggerName }, event: string): boolean {
    return this.#told.has(`${keyOf(of)} ${event}`)
  }

  /** Why a trigger may not fire for what happened, if it may not. What it fires and what is not allowed both count. */
  refuses({ perMinuteMax, trigger, workspace }: TriggerDefined, path: ReadonlyArray<TriggerName>, atMs: number): Refusal | undefined {
    if (path.includes(trigger)) return { reason: "loop", detail: `${trigger} already stands in this chain of causes: ${[...path, trigger].join(" > ")}` }
    if (path.length >= chainMax) return { reason: "loop", detail: `the chain of causes is ${path.length} triggers long, and ${chainMax} are the most: ${path.join(" > ")}` }
    const lately = this.firings({ workspace, trigger }).filter((firing) => firing.atMs > atMs - minuteMs && firing.refused?.reason !== "rate" && firing.refused?.reason !== "loop")
    return lately.length >= perMinuteMax ? { reason: "rate", detail: `it fired ${lately.length} times within a minute, and ${perMinuteMax} are the most` } : undefined
  }

  /** When a trigger that runs by the clock was last due, as far as it is known; else when it was defined. */
  lastDueMs({ trigger, workspace }: TriggerDefined): number {
    const key = keyOf({ workspace, trigger })
    return Math.max(this.#lastDue.get(key) ?? 0, this.#triggers.get(key)?.sinceMs ?? 0)
  }

  #note(of: { readonly workspace: WorkspaceName; readonly trigger: TriggerName }, firing: Firing): void {
    const key = keyOf(of)
    const firings = this.#firings.get(key) ?? []
    firings.push(firing)
    if (firings.length > TriggerBook.firingsMax) firings.shift()
    this.#firings.set(key, firings)
    this.#told.add(`${key} ${firing.event}`)
    if (this.#told.size > TriggerBook.toldMax) this.#told.delete(this.#told.values().next().value!)
    // An event from outside may be called as a due time is.
    const dueMs = this.#triggers.get(key)?.defined.on._tag === "cron" ? dueOf(firing.event) : undefined
    if (dueMs !== undefined) this.#lastDue.set(key, Math.max(dueMs, this.#lastDue.get(key) ?? 0))
  }
}

const keyOf = ({ trigger, workspace }: { readonly workspace: WorkspaceName; readonly trigger: TriggerName }): string => `${workspace} ${trigger}`

/** The text that names a due time, as `TriggerFired.event` carries it, and back. */
export const dueText = (dueAtMs: number): string => `due ${DateTime.formatIso(DateTime.makeUnsafe(dueAtMs))}`
const dueOf = (event: string): number | undefined => event.startsWith("due ") ? Option.getOrUndefined(Option.map(DateTime.make(event.slice(4)), DateTime.toEpochMillis)) : undefined

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

const after = (cron: Cron.Cron, ms: number): number => Cron.next(cron, DateTime.makeUnsafe(ms)).getTime()
