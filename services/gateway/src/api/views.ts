import { inCausalOrder, type Told } from "../domain/story.ts"
import { type State, stateOf } from "../domain/standing.ts"
import type { JobRow, TaskRow } from "../projections/jobs.ts"
import type { JobView, StoryLine, TaskView } from "./api.ts"
import type { JobCursor, StoryRows } from "./reading.ts"

const because = ({ cause, waits }: { readonly cause: string | null; readonly waits: string | null }): string | null =>
  cause ?? (waits === "" ? null : waits)

export const jobView = (row: JobRow): JobView => ({
  jobId: row.job_id,
  state: stateOf(row),
  ...(row.name === null ? {} : { name: row.name }),
  submittedBy: row.submitted_by ?? "",
  submittedAtMs: row.submitted_at_ms ?? 0,
  ...(row.grant_id === null ? {} : { grant: row.grant_id }),
  ...(row.parent_job_id === null ? {} : { parent: row.parent_job_id }),
  ...(row.trigger === null ? {} : { trigger: row.trigger }),
  ...(row.tasks === null ? {} : { tasks: row.tasks }),
  attempt: row.attempt,
  hostId: row.host_id,
  exitCode: row.exit_code,
  because: because(row),
  settledAtMs: row.settled_at_ms,
  ...(String(row.spent_pico) === "0" ? {} : { spentPico: String(row.spent_pico) })
})

export const taskView = (row: TaskRow): TaskView => ({
  task: row.task,
  state: stateOf(row) satisfies State,
  attempt: row.attempt,
  hostId: row.host_id,
  exitCode: row.exit_code,
  because: because(row),
  settledAtMs: row.settled_at_ms
})

/** The lines of a story in the order of their causes; a cause from elsewhere comes before what it caused. */
export const storyLines = ({ causes, lines }: Pick<StoryRows, "lines" | "causes">): ReadonlyArray<StoryLine> =>
  inCausalOrder([...lines.map((line) => ({ ...toldOf(line), line })), ...causes.map((line) => ({ ...toldOf(line), line: { ...line, task: null } }))])
    .map(({ causedBy, id, line, sequence, storedAtMs, stream }) => ({
      id,
      name: line.name,
      text: line.text,
      atMs: storedAtMs,
      actor: line.actor,
      causedBy,
      stream,
      sequence,
      ...(line.task === null ? {} : { task: line.task })
    }))

interface Line {
  readonly id: string
  readonly caused_by: string | null
  readonly stored_at_ms: number
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
}

const toldOf = ({ caused_by, id, ordinal, sequence, stored_at_ms, stream }: Line): Told => ({ id, causedBy: caused_by, storedAtMs: stored_at_ms, stream, sequence, ordinal })

/** The story has its end: nothing that comes later changes where the job stands. */
export const isOver = (names: ReadonlyArray<{ readonly name: string }>): boolean => names.some(({ name }) => name === "JobSettled" || name === "JobRefused")

/** A place in the list of jobs, as it travels. */
export const cursorText = ({ jobId, submittedAtMs }: JobCursor): string => Buffer.from(`${submittedAtMs} ${jobId}`).toString("base64url")

export const cursorFrom = (text: string): JobCursor | undefined => {
  const found = /^([0-9]{1,15}) (job_[0-9A-HJKMNP-TV-Z]{26})$/u.exec(Buffer.from(text.slice(0, 100), "base64url").toString("latin1"))
  return found === null ? undefined : { submittedAtMs: Number(found[1]), jobId: found[2]! }
}
