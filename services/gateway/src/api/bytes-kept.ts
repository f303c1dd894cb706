import { headsOf, Journal } from "@millrace/journal"
import { Database, read, type ReadOptions } from "@millrace/readmodel"
import { type BlobRef, type Digest, JobId, type WorkspaceName } from "@millrace/schemas"
import { Effect, Schema } from "effect"
import type { Kysely } from "kysely"
import type { ArtefactRow, AttemptRow, AttemptTables, EndingRow, WordRow } from "../projections/attempts.ts"
import { tables } from "../projections/tables.ts"
import { noSuchJob, Unavailable } from "./errors.ts"

/** Of an array which task; without it the job itself or, of an array, its first task. */
export interface Which {
  readonly task?: number
  readonly attempt?: number
}

/** One try of a task with what its host said of it. */
export type Try = Pick<AttemptRow, "attempt" | "attempt_id" | "host_id"> & Pick<WordRow, "started" | "over">

/** What an attempt made, in the words of the host that it was placed on. */
export type Kept = Pick<AttemptRow, "task" | "attempt"> & Pick<ArtefactRow, "name" | "digest" | "size_bytes" | "dropped_bytes">

/** What the tables say of one task. */
export interface Standing {
  /** Oldest first. */
  readonly attempts: ReadonlyArray<Try>
  readonly outputs: ReadonlyArray<Kept>
  readonly ending: EndingRow | undefined
}

const unavailable = (error: { readonly _tag: string; readonly message: string }) =>
  new Unavailable({
    code: error._tag === "ReadTooOld" ? "read_too_old" : "read_model_unavailable",
    what: error.message,
    where: "the gateway's tables",
    remedy: "ask again in a moment; what was kept stays kept"
  })

/** The rows that a task without a number may lie in. */
export const tasksOf = (task: number | undefined): ReadonlyArray<number> => task === undefined ? [-1, 0] : [task]

/**
 * Fails as not found for whoever is of another workspace, before anything else is said of the job. A job
 * that the tables do not know yet is looked up in the log: it can be followed as soon as it is submitted.
 */
export const isOurs = Effect.fnUntraced(function*(workspace: WorkspaceName, jobId: string) {
  if (!Schema.is(JobId)(jobId)) return yield* noSuchJob(jobId)
  const { value } = yield* read(tables, ({ db }) =>
    db.selectFrom("jobs").select("job_id").where("job_id", "=", jobId).where("workspace", "=", workspace).executeTakeFirst()).pipe(Effect.mapError(unavailable))
  if (value !== undefined) return
  const said = yield* Journal.use((journal) => journal.last({ kind: "job", scope: workspace, story: jobId })).pipe(Effect.mapError(unavailable))
  if (said === undefined) return yield* noSuchJob(jobId)
})

type Tables = Kysely<AttemptTables>

/** Attempts of a workspace, each with the words of the host that it was placed on: what others say of it is nobody's word. */
export const triedIn = (db: Tables) =>
  db.selectFrom("attempts").leftJoin("words", (join) => join.onRef("words.attempt_id", "=", "attempts.attempt_id").onRef("words.host_id", "=", "attempts.host_id"))

/** What attempts made, by the words of the host that each was placed on. Whose they are, the scheduler says. */
export const keptIn = (db: Tables) =>
  db.selectFrom("artefacts").innerJoin("attempts", (join) =>
    join.onRef("attempts.attempt_id", "=", "artefacts.attempt_id").onRef("attempts.host_id", "=", "artefacts.host_id")
      .onRef("attempts.job_id", "=", "artefacts.job_id").onRef("attempts.workspace", "=", "artefacts.workspace"))

const keptColumns = ["attempts.task", "attempts.attempt", "artefacts.name", "artefacts.digest", "artefacts.size_bytes", "artefacts.dropped_bytes"] as const

/** Where one task stands: its attempts, what they said, and how it ended. */
export const standingOf = (workspace: WorkspaceName, jobId: string, { task }: Which, options: ReadOptions = {}): Effect.Effect<Standing, Unavailable, Database> =>
  read(tables, async ({ db }) => {
    const tasks = tasksOf(task)
    const tries = await triedIn(db).where("attempts.job_id", "=", jobId).where("attempts.workspace", "=", workspace).where("attempts.task", "in", tasks)
      .select(["attempts.attempt", "attempts.attempt_id", "attempts.host_id", "attempts.lost", "words.started", "words.over"])
      .orderBy("attempts.attempt").limit(1000).execute()
    const outputs = await keptIn(db).select(keptColumns).where("attempts.job_id", "=", jobId).where("attempts.workspace", "=", workspace).where("attempts.task", "in", tasks)
      .where("artefacts.form", "=", "output").orderBy("attempts.attempt").limit(2000).execute()
    const endings = await db.selectFrom("endings").selectAll().where("job_id", "=", jobId).where("workspace", "=", workspace).where("task", "in", [...tasks, -1])
      .orderBy("task", "desc").execute()
    return {
      attempts: tries.map(({ lost, over, started, ...one }) => ({ ...one, started: started === true, over: over ?? (lost ? "lost" : null) })),
      outputs,
      ending: endings[0]
    }
  }, options).pipe(Effect.mapError(unavailable), Effect.map(({ value }) => value))

/** The same, once the tables know all that hosts and the scheduler had said by now. */
export const settledStandingOf = (workspace: WorkspaceName, jobId: string, which: Which): Effect.Effect<Standing, Unavailable, Database | Journal> =>
  heads.pipe(Effect.flatMap((after) => standingOf(workspace, jobId, which, { after, waitMsMax: 10_000 })))

const heads = Effect.mapError(headsOf(["SCHEDULER", "HOSTS"]), unavailable)

/** The newest thing of that name that was kept; if it is not there yet, what hosts have said by now is waited for. */
export const keptOf = Effect.fnUntraced(function*(workspace: WorkspaceName, jobId: string, form: "output" | "file", name: string, which: Which) {
  const look = (options: ReadOptions) =>
    read(tables, ({ db }) => {
      const found = keptIn(db).select(keptColumns).where("attempts.job_id", "=", jobId).where("attempts.workspace", "=", workspace)
        .where("attempts.task", "in", tasksOf(which.task)).where("artefacts.form", "=", form).where("artefacts.name", "=", name)
      return (which.attempt === undefined ? found : found.where("attempts.attempt", "=", which.attempt)).orderBy("attempts.attempt", "desc").limit(1).executeTakeFirst()
    }, options).pipe(Effect.mapError(unavailable), Effect.map(({ value }) => value))
  return (yield* look({})) ?? (yield* look({ after: yield* heads }))
})

/** What a task's work left, by name; of each name the newest. */
export const listKept = (workspace: WorkspaceName, jobId: string, which: Which, { after = "", limit }: { readonly after?: string; readonly limit: number }) =>
  heads.pipe(Effect.flatMap((head) =>
    read(tables, ({ db }) => {
      const found = keptIn(db).select(keptColumns).distinctOn(["artefacts.name", "attempts.task"]).where("attempts.job_id", "=", jobId).where("attempts.workspace", "=", workspace)
        .where("artefacts.form", "=", "file").where("artefacts.name", ">", after)
      const ofTask = which.task === undefined ? found : found.where("attempts.task", "=", which.task)
      return (which.attempt === undefined ? ofTask : ofTask.where("attempts.attempt", "=", which.attempt))
        .orderBy("artefacts.name").orderBy("attempts.task").orderBy("attempts.attempt", "desc").limit(limit).execute()
    }, { after: head })
  .pipe(Effect.mapError(unavailable), Effect.map(({ value }) => value))))

/** Whether a job of the workspace has made these bytes, as the host says that it was placed on: no other host hands out what others hold. */
export const madeHere = (workspace: WorkspaceName, digest: Digest): Effect.Effect<boolean, Unavailable, Database> =>
  read(tables, ({ db }) => keptIn(db).select("artefacts.digest").where("artefacts.workspace", "=", workspace).where("artefacts.digest", "=", digest).limit(1).executeTakeFirst()).pipe(
    Effect.mapError(unavailable),
    Effect.map(({ value }) => value !== undefined)
  )

export const blobOf = ({ digest, size_bytes }: Kept): BlobRef => ({ digest: digest as Digest, sizeBytes: Number(size_bytes) })
