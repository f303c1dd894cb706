import { Journal } from "@millrace/journal"
import { Database, read, type ReadTooOld } from "@millrace/readmodel"
import { type Action, type Cut, decodeFact, type Digest, JobId, type Resource, versions } from "@millrace/schemas"
import { Clock, Effect, Option, Random, Result, Schema } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { hash } from "node:crypto"
import { IdempotencyKey, programBytesMax, programOf } from "../domain/request.ts"
import { inCausalOrder, sentence } from "../domain/story.ts"
import { type JobRow, jobs } from "../projections/jobs.ts"
import { stories, type StoryRow } from "../projections/stories.ts"
import { tellDenial } from "../reactors/denials.ts"
import { type Acting, Submissions } from "../reactors/submissions.ts"
import { Api, type JobView, type StoryLine } from "./api.ts"
import { Caller, type Right } from "./caller.ts"
import { BadRequest, Conflict, Forbidden, logSilent, noSuchJob, TooLarge, Unavailable } from "./errors.ts"

/** How long a write waits for the log before it says that it does not know, in ms. */
const appendMsMax = 10_000

/** What the outside asks of jobs, answered from the log and from this service's own tables. */
export const JobsLive = HttpApiBuilder.group(Api, "jobs", Effect.fn(function*(handlers) {
  const database = yield* Database
  const journal = yield* Journal
  const submissions = yield* Submissions

  /** The caller, if its token holds the right; otherwise a refusal that the audit already knows of. */
  const acting = Effect.fnUntraced(function*(right: Right, resource: string, argumentsOf: unknown) {
    const { principal, rights, workspace } = yield* Caller
    if (rights.includes(right)) return { principal, workspace, rule: `token:${right}` } satisfies Acting
    const action = `job.${right}` as Action
    yield* tellDenial({
      principal,
      workspace,
      action,
      resource: `workspace/${workspace}/${resource}` as Resource,
      rule: "token-rights",
      argumentsDigest: `sha256:${hash("sha256", JSON.stringify(argumentsOf) ?? "", "hex")}` as Digest
    }).pipe(
      Effect.provideService(Journal, journal),
      Effect.timeout(appendMsMax),
      Effect.mapError(() => logSilent)
    )
    return yield* new Forbidden({
      code: "capability_missing",
      what: `${principal} may not do ${action}`,
      where: `workspace ${workspace}`,
      remedy: `ask for a token with the right ${right}; this refusal is in the audit`
    })
  })

  const rows = <A>(effect: Effect.Effect<A, ReadTooOld | { readonly _tag: string; readonly message: string }, Database>) =>
    effect.pipe(
      Effect.provideService(Database, database),
      Effect.mapError((error) => new Unavailable({
        code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
        what: error.message,
        where: "the gateway's tables",
        remedy: "ask again in a moment; what was submitted is safe in the log"
      }))
    )

  const rowOf = Effect.fnUntraced(function*(workspace: string, jobId: string, options: { readonly after?: Cut; readonly waitMsMax?: number }) {
    const { cut, value } = yield* rows(read(jobs, ({ db }) =>
      db.selectFrom("jobs").selectAll().where("job_id", "=", jobId).where("workspace", "=", workspace).executeTakeFirst(), options))
    if (value === undefined) return yield* noSuchJob(jobId)
    return { row: value, cut }
  })

  const factsOf = (story: string, options: { readonly after?: Cut; readonly waitMsMax?: number }) =>
    rows(read(stories, ({ db }) => db.selectFrom("stories").selectAll().where("part_of", "=", story).limit(10_000).execute(), options))

  return handlers.handleAll({
    submit: Effect.fnUntraced(function*({ headers, payload }) {
      const who = yield* acting("submit", "jobs", payload)
      const key = yield* keyFrom(headers["idempotency-key"])
      if (JSON.stringify(programOf(payload)).length > programBytesMax) return yield* tooLarge
      return yield* submissions.submit(who, key, payload).pipe(
        Effect.timeoutOrElse({ duration: appendMsMax, orElse: () => Effect.fail(logSilent) }),
        Effect.catchTags({
          IdempotencyMismatch: (error) => Effect.fail(new Conflict({
            code: "idempotency_mismatch",
            what: error.message,
            where: "the Idempotency-Key header",
            remedy: "send the first request again unchanged, or choose another key"
          })),
          CommitRefused: (error) => Effect.fail(refused(error.reason, error.message)),
          JournalUnavailable: () => Effect.fail(logSilent),
          KeyringUnavailable: (error) => Effect.fail(refused("keyring_unavailable", error.message))
        })
      )
    }),
    list: Effect.fnUntraced(function*({ query }) {
      const { workspace } = yield* acting("read", "jobs", query)
      const { cut, value } = yield* rows(read(jobs, ({ db }) =>
        db.selectFrom("jobs").selectAll().where("workspace", "=", workspace)
          .orderBy("submitted_at_ms", "desc").orderBy("job_id").limit(query.limit ?? 100).execute(), within(query)))
      return { jobs: value.map(viewOf), cut }
    }),
    show: Effect.fnUntraced(function*({ params, query }) {
      const { workspace } = yield* acting("read", `job/${params.jobId}`, query)
      const { cut, row } = yield* rowOf(workspace, params.jobId, within(query))
      return { job: viewOf(row), cut }
    }),
    story: Effect.fnUntraced(function*({ params, query }) {
      const { workspace } = yield* acting("read", `job/${params.jobId}`, query)
      const { row } = yield* rowOf(workspace, params.jobId, within(query))
      if (row.story === null) return yield* noSuchJob(params.jobId)
      const { cut, value } = yield* factsOf(row.story, within(query))
      const lines = inCausalOrder(value.map(toldOf))
      return { lines: lines.map(lineOf), over: value.some(({ name }) => name === "JobSettled" || name === "JobRefused"), cut }
    }),
    cancel: Effect.fnUntraced(function*({ params }) {
      const who = yield* acting("cancel", `job/${params.jobId}`, params)
      if (!Schema.is(JobId)(params.jobId)) return yield* noSuchJob(params.jobId)
      const cut = yield* submissions.cancel(who, params.jobId).pipe(
        Effect.timeoutOrElse({ duration: appendMsMax, orElse: () => Effect.fail(logSilent) }),
        Effect.catchTags({
          JobUnknown: () => Effect.fail(noSuchJob(params.jobId)),
          CommitRefused: (error) => Effect.fail(refused(error.reason, error.message)),
          JournalUnavailable: () => Effect.fail(logSilent)
        })
      )
      return { cut }
    })
  })
}))

const keyFrom = (given: string | undefined): Effect.Effect<IdempotencyKey, BadRequest> =>
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

const tooLarge = new TooLarge({
  code: "program_too_large",
  what: `argv, env and labels together are larger than ${programBytesMax} bytes`,
  where: "the request's body",
  remedy: "put large values into a file that the program reads"
})

const refused = (code: string, what: string) =>
  new Unavailable({ code, what, where: "the cell", remedy: "ask whoever runs the cell to look at millrace doctor, then send the request again" })

const within = ({ after, waitMs }: { readonly after?: string; readonly waitMs?: number }): { readonly after?: Cut; readonly waitMsMax?: number } => ({
  ...(after ? { after: Object.fromEntries(after.split(",").map((entry) => [entry.split("=")[0]!, Number(entry.split("=")[1])])) } : {}),
  ...(waitMs === undefined ? {} : { waitMsMax: waitMs })
})

const viewOf = (row: JobRow): JobView => ({
  jobId: row.job_id,
  state: row.outcome !== null
    ? row.outcome as JobView["state"]
    : row.waits !== null
    ? "waiting"
    : row.attempt === 0
    ? "queued"
    : row.started_attempt >= row.attempt
    ? "running"
    : "placed",
  submittedBy: row.submitted_by ?? "",
  submittedAtMs: Number(row.submitted_at_ms ?? 0),
  attempt: row.attempt,
  hostId: row.host_id,
  exitCode: row.exit_code,
  because: row.cause ?? row.waits,
  settledAtMs: row.settled_at_ms === null ? null : Number(row.settled_at_ms)
})

const toldOf = (row: StoryRow) => ({
  row,
  id: row.id,
  causedBy: row.caused_by,
  storedAtMs: Number(row.stored_at_ms),
  stream: row.stream,
  sequence: Number(row.sequence),
  ordinal: row.ordinal
})

const lineOf = ({ causedBy, id, row, sequence, storedAtMs, stream }: ReturnType<typeof toldOf>): StoryLine => {
  const fact = decodeFact(row.name, versions.get(row.name) ?? 1, row.body)
  return {
    id,
    name: row.name,
    text: Result.isSuccess(fact) ? sentence(fact.success) : row.name,
    atMs: storedAtMs,
    actor: row.actor,
    causedBy,
    stream,
    sequence
  }
}
