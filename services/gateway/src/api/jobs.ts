import type { ActionName } from "@millrace/authority"
import { Blobs } from "@millrace/blobs"
import { Journal } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { type Cut, cutFrom, JobId } from "@millrace/schemas"
import { Caller } from "@millrace/service"
import { Clock, Effect, Option, Random, Schema } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { placeFrom } from "../domain/telling-place.ts"
import { digestOf, IdempotencyKey } from "../domain/request.ts"
import { Entrance } from "../reactors/entrance.ts"
import { Gate } from "../reactors/gate.ts"
import { Submissions } from "../reactors/submissions.ts"
import { Api } from "./api.ts"
import { BadRequest, cellTrouble, logSilent, noSuchJob } from "./errors.ts"
import { storyEvents } from "./events.ts"
import { jobAt, jobRow, jobRows, pastAt, storyRows, taskRows } from "./reading.ts"
import { refusalOf, submissionRefusal } from "./refusals.ts"
import { cursorFrom, cursorText, isOver, jobView, storyLines, taskView } from "./views.ts"

/** How long a write waits for the log before it says that it does not know, in ms. */
const appendMsMax = 10_000

/** What the outside asks of jobs, answered from the log and from this service's own tables. */
export const JobsLive = HttpApiBuilder.group(Api, "jobs", Effect.fn(function*(handlers) {
  const stores = yield* Effect.context<Blobs | Database | Journal>()
  const entrance = yield* Entrance
  const gate = yield* Gate
  const submissions = yield* Submissions

  /** The caller, if it may; otherwise a refusal that the audit already knows of. */
  const allowed = Effect.fnUntraced(function*(action: ActionName, within: ReadonlyArray<string>, argumentsOf: unknown) {
    return yield* Effect.mapError(gate.pass(yield* Caller, { action, within, argumentsDigest: digestOf(argumentsOf) }), refusalOf)
  })

  /** The caller, if it may read the job; an id that is none names no job, whoever asks. */
  const reading = Effect.fnUntraced(function*(jobId: string, query: unknown) {
    if (!Schema.is(JobId)(jobId)) return yield* noSuchJob(jobId)
    return yield* allowed("job.read", ["job", jobId], query)
  })

  return handlers.handleAll({
    submit: Effect.fnUntraced(function*({ headers, payload }) {
      const key = yield* keyFrom(headers["idempotency-key"])
      return yield* entrance.enter(yield* Caller, key, payload).pipe(
        Effect.mapError(submissionRefusal),
        Effect.timeoutOrElse({ duration: appendMsMax, orElse: () => Effect.fail(logSilent) })
      )
    }),
    list: Effect.fnUntraced(function*({ query }) {
      const { workspace } = yield* allowed("job.read", [], query)
      const cursor = query.cursor === undefined ? undefined : cursorFrom(query.cursor)
      if (query.cursor !== undefined && cursor === undefined) return yield* cursorMalformed
      return yield* Effect.provideContext(listed(workspace, query, cursor), stores)
    }),
    show: Effect.fnUntraced(function*({ params: { jobId }, query }) {
      const { workspace } = yield* reading(jobId, query)
      const { cut, row } = yield* (query.at === undefined
        ? jobRow(workspace, jobId, within(query))
        : Effect.flatMap(pastAt(query.at), (at) => jobAt(workspace, jobId, at, query.waitMs))).pipe(Effect.provideContext(stores))
      return { job: jobView(row), cut }
    }),
    story: Effect.fnUntraced(function*({ params: { jobId }, query }) {
      const { workspace } = yield* reading(jobId, query)
      return yield* Effect.gen(function*() {
        const at = query.at === undefined ? undefined : yield* pastAt(query.at)
        if (at === undefined) yield* jobRow(workspace, jobId, within(query))
        else yield* jobAt(workspace, jobId, at, query.waitMs)
        const { cut, value } = yield* storyRows(jobId, {
          ...(at === undefined ? {} : { at }),
          ...(query.task === undefined ? {} : { task: query.task })
        }, at === undefined ? within(query) : {})
        return { lines: storyLines(value), over: isOver(value.lines), ...(value.more ? { more: true } : {}), cut: at ?? cut }
      }).pipe(Effect.provideContext(stores))
    }),
    events: Effect.fnUntraced(function*({ headers, params: { jobId }, query }) {
      const caller = yield* Caller
      const { workspace } = yield* reading(jobId, query)
      const given = headers["last-event-id"] ?? query.from
      const from = given === undefined || given === "" ? undefined : placeFrom(given)
      if (given !== undefined && given !== "" && from === undefined) return yield* placeMalformed(given)
      return yield* Effect.gen(function*() {
        // A job that was submitted a moment ago is known to the log before the tables know it.
        const head = yield* Effect.mapError(Journal.use((journal) => journal.last({ kind: "job", scope: workspace, story: jobId })), () => logSilent)
        yield* jobRow(workspace, jobId, head === undefined ? {} : { after: { [head.place.stream]: head.place.sequence } })
        return yield* storyEvents(jobId, from, gate.takenBack(caller, { action: "job.read", within: ["job", jobId], argumentsDigest: digestOf(query) }))
      }).pipe(Effect.provideContext(stores))
    }),
    tasks: Effect.fnUntraced(function*({ params: { jobId }, query }) {
      const { workspace } = yield* reading(jobId, query)
      const cursor = query.cursor === undefined ? undefined : Number(query.cursor)
      if (query.cursor !== undefined && !/^[0-9]{1,7}$/u.test(query.cursor)) return yield* cursorMalformed
      const limit = query.limit ?? 100
      return yield* Effect.gen(function*() {
        const { row } = yield* jobRow(workspace, jobId, within(query))
        const { cut, value } = yield* taskRows(jobId, {
          limit,
          ...(cursor === undefined ? {} : { cursor }),
          ...(query.state === undefined ? {} : { state: query.state })
        }, within(query))
        const begun = [...value.counts.values()].reduce((sum, count) => sum + count, 0)
        const queued = (value.counts.get("queued") ?? 0) + Math.max(0, (row.tasks ?? 0) - begun)
        const page = value.rows.slice(0, limit)
        return {
          tasks: page.map(taskView),
          counts: { ...Object.fromEntries(value.counts), ...(queued === 0 ? {} : { queued }) },
          ...(value.rows.length > limit ? { next: String(page.at(-1)!.task) } : {}),
          cut
        }
      }).pipe(Effect.provideContext(stores))
    }),
    cancel: Effect.fnUntraced(function*({ params: { jobId } }) {
      if (!Schema.is(JobId)(jobId)) return yield* noSuchJob(jobId)
      const who = yield* allowed("job.cancel", ["job", jobId], {})
      const cut = yield* submissions.cancel(who, jobId).pipe(
        Effect.timeoutOrElse({ duration: appendMsMax, orElse: () => Effect.fail(logSilent) }),
        Effect.catchTags({
          JobUnknown: () => Effect.fail(noSuchJob(jobId)),
          CommitRefused: (error) => Effect.fail(cellTrouble(error.reason, error.message)),
          JournalUnavailable: () => Effect.fail(logSilent)
        })
      )
      return { cut }
    })
  })
}))

/** Pages of the past that are looked through for one answer, when few of their jobs were in the state asked for. */
const pagesMax = 10

type ListQuery = Fresh & { readonly at?: string; readonly limit?: number; readonly state?: ReturnType<typeof jobView>["state"]; readonly name?: string; readonly parent?: string; readonly submittedBy?: string }

const listed = Effect.fnUntraced(function*(workspace: Parameters<typeof jobRow>[0], query: ListQuery, from: ReturnType<typeof cursorFrom>) {
  const { at: atText, limit = 100, state } = query
  const at = atText === undefined ? undefined : yield* pastAt(atText)
  const options = at === undefined ? within(query) : { ...within(query), after: { ...within(query).after, ...at } }
  const found: Array<ReturnType<typeof jobView>> = []
  let cursor = from
  for (let page = 0; ; page += 1) {
    const { cut, value } = yield* jobRows(workspace, query, { limit, ...(cursor === undefined ? {} : { cursor }) }, options, at)
    // The state that a job was in is known once its past is folded, so it is sifted here; now it is sifted by the query.
    const rows = value.slice(0, limit)
    for (const job of rows.map(jobView)) {
      if (at !== undefined && state !== undefined && job.state !== state) continue
      found.push(job)
      if (found.length === limit) break
    }
    const last = found.length === limit ? found.at(-1)! : rows.length === 0 ? undefined : jobView(rows.at(-1)!)
    cursor = last === undefined ? undefined : { submittedAtMs: last.submittedAtMs, jobId: last.jobId }
    const isMore = value.length > limit || (last !== undefined && rows.at(-1)!.job_id !== last.jobId)
    if (!isMore || found.length === limit || page + 1 === pagesMax) {
      return { jobs: found, ...(isMore && cursor !== undefined ? { next: cursorText(cursor) } : {}), cut: at ?? cut }
    }
  }
})

/** The key that was sent, or one of its own for this request alone. */
export const keyFrom = (given: string | undefined): Effect.Effect<IdempotencyKey, BadRequest> =>
  given === undefined
    ? Effect.gen(function*() {
      const atMs = yield* Clock.currentTimeMillis
      return IdempotencyKey.make(`own-${atMs}-${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}-${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`)
    })
    : Option.match(Schema.decodeUnknownOption(IdempotencyKey)(given), {
      onSome: Effect.succeed,
      onNone: () => Effect.fail(new BadRequest({
        code: "idempotency_key_malformed",
        what: "an idempotency key is 1 to 128 letters, digits, dashes, underscores or colons",
        where: "the Idempotency-Key header",
        remedy: "choose another key, such as a UUID"
      }))
    })

interface Fresh {
  readonly after?: string
  readonly waitMs?: number
}

const within = ({ after, waitMs }: Fresh): { readonly after?: Cut; readonly waitMsMax?: number } => ({
  ...(after ? { after: cutFrom(after) ?? {} } : {}),
  ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
})

const cursorMalformed = new BadRequest({
  code: "cursor_malformed",
  what: "the cursor is none that a page has given",
  where: "cursor in the query",
  remedy: "send next of the page before as it came, or none"
})

const placeMalformed = (given: string) =>
  new BadRequest({
    code: "place_malformed",
    what: `${JSON.stringify(given.slice(0, 60))} is no place in a story`,
    where: "Last-Event-ID, or from in the query",
    remedy: "send the id of the last event as it came, or none"
  })
