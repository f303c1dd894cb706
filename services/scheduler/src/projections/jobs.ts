import { dialectOf } from "../domain/ask.ts"
import { foldHistory, foldRows, history } from "@millrace/readmodel"
import type { Fact } from "@millrace/journal"
import type {
  AttemptExited,
  AttemptRefused,
  JobCancelRequested,
  JobDeferred,
  JobRefused,
  JobRetried,
  JobSettled,
  JobSpec,
  JobSubmitted,
  MillFact,
  PlacementMade,
  Resources,
  TaskSettled
} from "@millrace/schemas"
import { type SchemaModule, sql, type Transaction } from "kysely"

/** What somebody asked for, and where in the gateway's order that lies. */
export interface JobRow {
  readonly job_id: string
  readonly workspace: string | null
  readonly name: string | null
  readonly resources: Resources | null
  readonly runtime: string | null
  readonly trust: string | null
  readonly dialect: number | null
  readonly gpu: NonNullable<JobSpec["gpu"]> | null
  readonly places: NonNullable<JobSpec["where"]> | null
  readonly tasks: number | null
  readonly parallelism_max: number | null
  readonly after: NonNullable<JobSpec["after"]> | null
  readonly grant_id: string | null
  readonly submitted_seq: number | null
  readonly submitted_at_ms: number | null
  readonly cancelled_seq: number | null
}

/** The last thing that we said of a job as a whole. */
export interface StandingRow {
  readonly job_id: string
  readonly workspace: string
  readonly said: "deferred" | "placed" | "retried" | "settled" | "refused"
  readonly reason: string | null
  /** The arithmetic of a wait, the cause of an end or of another attempt. */
  readonly words: string | null
  readonly unblocked_by: string | null
  readonly due_at_ms: number | null
  readonly outcome: string | null
  readonly exit_code: number | null
  readonly host_id: string | null
  readonly attempt: number | null
  readonly skipped: number | null
  readonly said_at_ms: number
  /** Since when it waits, or is where it is. */
  readonly since_ms: number
}

/** An attempt on a host. It holds its room there from `placed_seq` of our order until `over_seq` of the hosts'. */
export interface PlacementRow {
  readonly attempt_id: string
  readonly host_id: string
  readonly job_id: string
  readonly workspace: string
  readonly task: number | null
  readonly attempt: number
  readonly cpu_milli: number | null
  readonly memory_mib: number | null
  readonly disk_mib: number | null
  readonly gpus: number | null
  /** Of each of its devices; 1000 is the whole. */
  readonly device_milli: number | null
  readonly devices: ReadonlyArray<number> | null
  readonly gpu_model: string | null
  readonly reason: string | null
  readonly placed_seq: number | null
  readonly placed_at_ms: number | null
  readonly over_seq: number | null
  readonly over_at_ms: number | null
}

/** A task of an array that is over. */
export interface TaskOverRow {
  readonly job_id: string
  readonly task: number
  readonly outcome: string
  readonly settled_seq: number
}

export interface JobTables {
  readonly jobs: JobRow
  readonly standings: StandingRow & { readonly valid_from_seq: number; readonly valid_to_seq: number | null }
  readonly placements: PlacementRow
  readonly tasks_over: TaskOverRow
}

export const standings = history({ table: "standings", stream: "SCHEDULER", key: ["job_id"] })

type Asking = JobSubmitted | JobCancelRequested
type Standing = JobDeferred | PlacementMade | JobRetried | JobSettled | JobRefused
type Holding = PlacementMade | AttemptExited | AttemptRefused
export type OfJobs = Asking | Standing | Holding | TaskSettled

/** What is minded here, by name. */
export const jobFacts = [
  "JobSubmitted", "JobCancelRequested", "JobDeferred", "PlacementMade", "JobRetried", "JobSettled", "JobRefused", "AttemptExited", "AttemptRefused", "TaskSettled"
] as const satisfies ReadonlyArray<OfJobs["_tag"]>

export const createJobs = (schema: SchemaModule) => [
  schema.createTable("jobs").addColumn("job_id", "text", (column) => column.primaryKey()).addColumn("workspace", "text").addColumn("name", "text")
    .addColumn("resources", "jsonb").addColumn("runtime", "text").addColumn("trust", "text").addColumn("dialect", "integer").addColumn("gpu", "jsonb").addColumn("places", "jsonb").addColumn("tasks", "integer").addColumn("parallelism_max", "integer").addColumn("after", "jsonb")
    .addColumn("grant_id", "text").addColumn("submitted_seq", "bigint").addColumn("submitted_at_ms", "bigint").addColumn("cancelled_seq", "bigint"),
  schema.createIndex("jobs_by_workspace").on("jobs").columns(["workspace", "submitted_seq"]),
  ...standings.create(schema, (table) => table.addColumn("job_id", "text").addColumn("workspace", "text").addColumn("said", "text").addColumn("reason", "text")
    .addColumn("words", "text").addColumn("unblocked_by", "text").addColumn("due_at_ms", "bigint").addColumn("outcome", "text").addColumn("exit_code", "integer")
    .addColumn("host_id", "text").addColumn("attempt", "integer").addColumn("skipped", "integer").addColumn("said_at_ms", "bigint").addColumn("since_ms", "bigint")),
  schema.createIndex("standings_by_workspace").on("standings").columns(["workspace", "said"]).where(sql<boolean>`valid_to_seq is null`),
  schema.createTable("placements").addColumn("attempt_id", "text").addColumn("host_id", "text").addColumn("job_id", "text").addColumn("workspace", "text")
    .addColumn("task", "integer").addColumn("attempt", "integer").addColumn("cpu_milli", "bigint").addColumn("memory_mib", "bigint").addColumn("disk_mib", "bigint")
    .addColumn("gpus", "integer").addColumn("device_milli", "integer").addColumn("devices", "jsonb").addColumn("gpu_model", "text").addColumn("reason", "text").addColumn("placed_seq", "bigint").addColumn("placed_at_ms", "bigint").addColumn("over_seq", "bigint")
    .addColumn("over_at_ms", "bigint").addPrimaryKeyConstraint("placements_key", ["attempt_id", "host_id"]),
  schema.createIndex("placements_by_job").on("placements").columns(["job_id", "placed_seq"]),
  schema.createIndex("placements_held").on("placements").columns(["host_id"]).where(sql<boolean>`over_seq is null`),
  schema.createTable("tasks_over").addColumn("job_id", "text").addColumn("task", "integer").addColumn("outcome", "text").addColumn("settled_seq", "bigint")
    .addPrimaryKeyConstraint("tasks_over_key", ["job_id", "task"])
]

/** Rows that two streams speak of keep each stream's words in columns of its own, so that no order between them matters. */
export const applyToJobs = async (tx: Transaction<any>, facts: ReadonlyArray<Fact<MillFact>>): Promise<void> => {
  await foldRows<JobRow, MillFact>(tx, facts, {
    table: "jobs",
    key: ["job_id"],
    about: ({ event }) => (event._tag === "JobSubmitted" || event._tag === "JobCancelRequested" ? { job_id: event.jobId } : undefined),
    evolve: (row, { commit, event }) => jobAfter(row, event as Asking, commit.place)
  })
  await foldHistory<StandingRow, MillFact>(tx, facts, standings, {
    about: ({ event }) => (standing(event) ? { job_id: event.jobId } : undefined),
    evolve: (row, { commit, event }) => standingAfter(row, event as Standing, commit.place.storedAtMs)
  })
  await foldRows<PlacementRow, MillFact>(tx, facts, {
    table: "placements",
    key: ["attempt_id", "host_id"],
    about: ({ commit, event }) =>
      event._tag === "PlacementMade" || ((event._tag === "AttemptExited" || event._tag === "AttemptRefused") && commit.subject.scope === event.hostId)
        ? { attempt_id: event.attemptId, host_id: event.hostId }
        : undefined,
    evolve: (row, { commit, event }) => placementAfter(row, event as Holding, commit.place)
  })
  await foldRows<TaskOverRow, MillFact>(tx, facts, {
    table: "tasks_over",
    key: ["job_id", "task"],
    about: ({ event }) => (event._tag === "TaskSettled" ? { job_id: event.jobId, task: event.task } : undefined),
    evolve: (row, { commit, event }) => row ?? (event._tag === "TaskSettled"
      ? { job_id: event.jobId, task: event.task, outcome: event.outcome, settled_seq: commit.place.sequence }
      : row)
  })
}

interface Place {
  readonly sequence: number
  readonly storedAtMs: number
}

const jobAfter = (row: JobRow | undefined, event: Asking, { sequence, storedAtMs }: Place): JobRow => {
  const known = row ?? {
    job_id: event.jobId, workspace: null, name: null, resources: null, runtime: null, trust: null, dialect: null, gpu: null, places: null, tasks: null, parallelism_max: null, after: null, grant_id: null,
    submitted_seq: null, submitted_at_ms: null, cancelled_seq: null
  }
  if (event._tag === "JobCancelRequested") return known.cancelled_seq === null ? { ...known, cancelled_seq: sequence } : known
  if (known.submitted_seq !== null) return known
  const { grant, name, spec, workspace } = event
  const { after, array, gpu, resources, runtime, trust, where } = spec
  return {
    ...known, workspace, name: name ?? null, resources, runtime, trust, dialect: dialectOf(spec), gpu: gpu ?? null, places: where ?? null, tasks: array?.tasks ?? null, parallelism_max: array?.parallelismMax ?? null, after: after ?? null, grant_id: grant ?? null,
    submitted_seq: sequence, submitted_at_ms: storedAtMs
  }
}

const standing = (event: MillFact): event is Standing =>
  event._tag === "JobDeferred" || event._tag === "PlacementMade" || event._tag === "JobRetried" || event._tag === "JobSettled" || event._tag === "JobRefused"

const isOver = (row: StandingRow | undefined): boolean => row?.said === "settled" || row?.said === "refused"

const standingAfter = (row: StandingRow | undefined, event: Standing, atMs: number): StandingRow | undefined => {
  if (isOver(row)) return row
  const blank: StandingRow = {
    job_id: event.jobId, workspace: event.workspace, said: "placed", reason: null, words: null, unblocked_by: null, due_at_ms: null, outcome: null,
    exit_code: null, host_id: null, attempt: null, skipped: null, said_at_ms: atMs, since_ms: atMs
  }
  switch (event._tag) {
    case "JobDeferred": {
      const { arithmetic, dueAtMs, reason, unblockedBy } = event
      return { ...blank, said: "deferred", reason, words: arithmetic, unblocked_by: unblockedBy, due_at_ms: dueAtMs ?? null, since_ms: row?.said === "deferred" ? row.since_ms : atMs }
    }
    case "PlacementMade":
      // Of an array only some may have gone: why the others wait stays said.
      return row?.said === "placed" ? row : { ...(event.task === undefined ? blank : row ?? blank), said: "placed", said_at_ms: atMs }
    case "JobRetried":
      return event.task !== undefined ? row : { ...blank, said: "retried", reason: event.lost === true ? "lost" : "failed", words: event.cause, due_at_ms: event.notBeforeMs, attempt: event.failedAttempt }
    case "JobSettled": {
      const { attempt, cause, exitCode, hostId, outcome, tasks } = event
      return { ...blank, said: "settled", outcome, words: cause, attempt, exit_code: exitCode ?? null, host_id: hostId ?? null, skipped: tasks?.skipped ?? null }
    }
    case "JobRefused":
      return { ...blank, said: "refused", outcome: "refused", reason: event.reason, words: event.remedy }
    default:
      return event satisfies never
  }
}

const placementAfter = (row: PlacementRow | undefined, event: Holding, { sequence, storedAtMs }: Place): PlacementRow => {
  const { attempt, attemptId, hostId, jobId, task, workspace } = event
  const known = row ?? {
    attempt_id: attemptId, host_id: hostId, job_id: jobId, workspace, task: task ?? null, attempt, cpu_milli: null, memory_mib: null, disk_mib: null, gpus: null, device_milli: null, devices: null, gpu_model: null,
    reason: null, placed_seq: null, placed_at_ms: null, over_seq: null, over_at_ms: null
  }
  if (event._tag !== "PlacementMade") return known.over_seq === null ? { ...known, over_seq: sequence, over_at_ms: storedAtMs } : known
  if (known.placed_seq !== null) return known
  const { gpuModel, gpus: devices = [], reason, spec: { resources: { cpuMilli, diskMib, gpuMilli = 0, gpus, memoryMib } } } = event
  // Which job it is of is ours to say, whatever a host's word said first.
  return {
    ...known, job_id: jobId, workspace, task: task ?? null, attempt, cpu_milli: cpuMilli, memory_mib: memoryMib, disk_mib: diskMib, gpus, gpu_model: gpuModel ?? null, reason,
    ...(devices.length === 0 ? {} : { device_milli: gpuMilli > 0 ? gpuMilli : 1000, devices }),
    placed_seq: sequence, placed_at_ms: storedAtMs
  }
}
