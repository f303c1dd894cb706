import { Database, read } from "@millrace/readmodel"
import { Cause, Context, Deferred, Effect, Layer, Schedule } from "effect"
import { noTask } from "../projections/attempts.ts"
import { tables } from "../projections/tables.ts"
import { keptIn, type Standing, tasksOf, triedIn } from "./bytes-kept.ts"

/** How often the tables are asked, once for all who wait, in ms. */
const lookMs = 200

interface Waiting {
  readonly jobId: string
  readonly tasks: ReadonlyArray<number>
  readonly seen: string
  readonly changed: Deferred.Deferred<void>
}

/** What can change in a standing, in one line. */
export const fingerprint = ({ attempts, ending, outputs }: Standing): string =>
  [attempts.length, attempts.filter(({ started }) => started).length, attempts.filter(({ over }) => over !== null).length, outputs.length, ending === undefined ? 0 : 1].join("/")

/** Wakes those who wait for a task to move on: one look at the tables serves all of them, and none is made when nobody waits. */
export class Watch extends Context.Service<Watch, {
  /** Waits until the task stands elsewhere than in `seen`. It may stand there already. */
  readonly change: (jobId: string, task: number | undefined, seen: Standing) => Effect.Effect<void>
}>()("millrace/gateway/Watch") {
  static readonly layer: Layer.Layer<Watch, never, Database> = Layer.effect(Watch, Effect.gen(function*() {
    const database = yield* Database
    const waiting = new Set<Waiting>()
    const look = Effect.suspend(() => waiting.size === 0 ? Effect.void : Effect.map(standing([...waiting]), (now) => {
      for (const one of waiting) {
        if (now(one) !== one.seen) Deferred.doneUnsafe(one.changed, Effect.void)
      }
    })).pipe(
      Effect.provideService(Database, database),
      Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : Effect.logWarning("Followers of logs cannot be told of changes; they ask by themselves meanwhile", cause))
    )
    yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(lookMs)))
    return {
      change: (jobId, task, seen) => Effect.suspend(() => {
        const one: Waiting = { jobId, tasks: tasksOf(task), seen: fingerprint(seen), changed: Deferred.makeUnsafe() }
        waiting.add(one)
        return Effect.ensuring(Deferred.await(one.changed), Effect.sync(() => waiting.delete(one)))
      })
    }
  }))
}

/** The fingerprint of each task that is waited for, in one look. */
const standing = (waiting: ReadonlyArray<Waiting>) => {
  const jobs = [...new Set(waiting.map(({ jobId }) => jobId))]
  const tasks = [...new Set(waiting.flatMap((one) => one.tasks))]
  return read(tables, async ({ db }) => {
    const tries = await triedIn(db).where("attempts.job_id", "in", jobs).where("attempts.task", "in", tasks).groupBy(["attempts.job_id", "attempts.task"])
      .select((of) => [
        "attempts.job_id", "attempts.task", of.fn.countAll<string>().as("tries"), of.fn.countAll<string>().filterWhere("words.started", "=", true).as("started"),
        of.fn.countAll<string>().filterWhere(({ eb, or }) => or([eb("attempts.lost", "=", true), eb("words.over", "is not", null)])).as("over")
      ])
      .execute()
    const kept = await keptIn(db).where("attempts.job_id", "in", jobs).where("attempts.task", "in", tasks).where("artefacts.form", "=", "output").groupBy(["attempts.job_id", "attempts.task"])
      .select((of) => ["attempts.job_id", "attempts.task", of.fn.countAll<string>().as("outputs")]).execute()
    const ended = await db.selectFrom("endings").where("job_id", "in", jobs).where("task", "in", [...tasks, noTask]).select(["job_id", "task"]).execute()
    return { tries, kept, ended }
  }).pipe(Effect.map(({ value: { ended, kept, tries } }) => ({ jobId, tasks }: Waiting): string => {
    const sum = <Row extends { readonly job_id: string; readonly task: number }>(rows: ReadonlyArray<Row>, column: keyof Row) =>
      rows.filter((row) => row.job_id === jobId && tasks.includes(row.task)).reduce((total, row) => total + Number(row[column]), 0)
    const over = ended.some((row) => row.job_id === jobId && (row.task === noTask || tasks.includes(row.task)))
    return [sum(tries, "tries"), sum(tries, "started"), sum(tries, "over"), sum(kept, "outputs"), over ? 1 : 0].join("/")
  }))
}
