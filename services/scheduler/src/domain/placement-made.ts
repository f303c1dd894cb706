import type { Link } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import type { Round, SaidFact } from "@millrace/journal"
import type { AttemptId, BudgetShare, GangPlace, PlacementMade, Warrant, WarrantId } from "@millrace/schemas"
import { devicesOf } from "./fleet.ts"
import { narrowest } from "./permits.ts"
import { taskField } from "./settle.ts"
import { startOf } from "./snapshots.ts"
import { arrayOf } from "./tasks.ts"
import type { HostState, JobState, TaskState, World } from "./world.ts"

/** A warrant outlives the longest run by this much, so that an end can still be told under it. */
const warrantSlackMs = 600_000

/** What was decided of one attempt. */
export interface Terms {
  readonly job: JobState
  readonly task: TaskState
  readonly host: HostState
  /** The numbers of its devices. */
  readonly devices: ReadonlyArray<number>
  readonly links: ReadonlyArray<Link>
  readonly share: BudgetShare | undefined
  /** Of a gang: its place in it. */
  readonly gang?: GangPlace
  readonly reason: string
}

/** The model of a host's devices: the packing takes those of the first's alone. */
export const gpuModelOf = (host: HostState): string | undefined => devicesOf(host)[0]?.model

const nextAttemptOf = (job: JobState, { attempt, number }: TaskState): ReadonlyArray<string | number> =>
  arrayOf(job) === undefined ? [job.id, attempt + 1] : [job.id, number, attempt + 1]

/** The id of a task's next attempt, where that is placed at this moment. */
export const nextAttemptId = (job: JobState, task: TaskState, atMs: number): AttemptId => deriveId<AttemptId>("att", atMs, ...nextAttemptOf(job, task))

/** The fact that says so, for the host that is to run it. */
export const placed = (world: World, round: Round, { devices, gang, host, job, links, reason, share, task }: Terms): SaidFact => {
  const { fact, factId } = job.submitted!
  const { spec, workspace } = fact
  const attempt = task.attempt + 1
  const numbered = taskField(task)
  const fence = { epoch: round.epoch, sequence: round.saw["SCHEDULER"] ?? 0 }
  const from = startOf(world, task)
  const which = nextAttemptOf(job, task)
  const attemptId = nextAttemptId(job, task, round.atMs)
  const made: PlacementMade = {
    _tag: "PlacementMade",
    jobId: job.id,
    workspace,
    hostId: host.id,
    ...numbered,
    attempt,
    attemptId,
    fence,
    spec,
    warrant: {
      warrantId: deriveId<WarrantId>("wrt", round.atMs, ...which, host.id),
      hostId: host.id,
      jobId: job.id,
      attempt,
      fence,
      resources: spec.resources,
      ...(devices.length === 0 ? {} : { gpus: devices }),
      grantPath: links.map(({ grantId }) => grantId),
      expiresAtMs: Math.min(Number.MAX_SAFE_INTEGER, round.atMs + spec.runMsMax + warrantSlackMs),
      view: { ACCESS: round.saw["ACCESS"] ?? 0 },
      ...spokenFor(job, links),
      ...(links.length === 0 ? {} : { attemptId, ...numbered })
    },
    signature: "",
    ...(spec.resources.gpus + (spec.resources.gpuMilli ?? 0) === 0 ? {} : modelField(gpuModelOf(host))),
    ...(from === undefined ? spec.startFrom === undefined ? {} : { snapshot: spec.startFrom } : { snapshot: from.snapshotId, from: { snapshotId: from.snapshotId, blob: from.blob } }),
    ...(share === undefined ? {} : { share }),
    ...(devices.length === 0 ? {} : { gpus: devices }),
    ...(gang === undefined ? {} : { gang }),
    reason
  }
  return { event: made, partOf: factId, causedBy: factId, ...(fact.grant === undefined ? {} : { grant: fact.grant }) }
}

const modelField = (gpuModel: string | undefined) => (gpuModel === undefined ? {} : { gpuModel })

/** The program inside speaks as the holder of the grant that its job was submitted under, within the grant's limits. */
const spokenFor = (job: JobState, links: ReadonlyArray<Link>): Pick<Warrant, "workspace" | "holder" | "constraints"> => {
  const leaf = links.at(-1)
  return leaf === undefined ? {} : { workspace: job.submitted!.fact.workspace, holder: leaf.holder, constraints: narrowest(links) }
}
