import type { JobId, Principal, WorkspaceName } from "@millrace/schemas"
import type { Chance, Sometimes } from "@millrace/sim"
import { Effect } from "effect"
import type { IdempotencyKey, JobRequest } from "../../services/gateway/src/domain/request.ts"
import type { Acting } from "../../services/gateway/src/reactors/gate.ts"
import type { SimulatedGrant } from "./authority.ts"
import type { Desk } from "./desk.ts"

export interface ClientsOptions {
  readonly chance: Chance
  readonly desks: ReadonlyArray<Desk>
  readonly jobs: number
  readonly sometimes: Sometimes
  readonly workspaces: ReadonlyArray<WorkspaceName>
  readonly grants: ReadonlyArray<SimulatedGrant>
  /** How far access's stream reached when the grants were known. */
  readonly viewAt: number
  /** How many of them act under a grant, from 0 to 1. */
  readonly underGrant: number
  /** When one of them asks, in ms from the beginning. */
  readonly asksAtMs: (chance: Chance, workspace: WorkspaceName) => number
  /** What one of them asks for. */
  readonly requestOf: (chance: Chance) => JobRequest
  /** Filled as answers come. */
  readonly acknowledged: Set<JobId>
  readonly cancelled: Set<JobId>
}

/** Everybody who submits and cancels in one run. Ends when each has got its answers. */
export const clients = ({ acknowledged, asksAtMs, cancelled, chance, desks, grants, jobs, requestOf, sometimes, underGrant, viewAt, workspaces }: ClientsOptions): Effect.Effect<void> =>
  Effect.suspend(() => {
    /** In the order of the answers, for those that follow. */
    const submitted: Array<{ readonly jobId: JobId; readonly workspace: WorkspaceName }> = []
    return Effect.forEach(Array.from({ length: jobs }, (_, index) => index), (index) => Effect.gen(function*() {
      const own = chance.fork(`client ${index}`)
      const grant = own.happens(underGrant) ? own.oneOf(grants) : undefined
      const acting: Acting = grant === undefined
        ? { principal: "user:ada" as Principal, workspace: own.oneOf(workspaces), decision: { rule: "role.owner", view: {} } }
        : { principal: grant.holder, workspace: grant.workspace, grant: grant.grantId, decision: { rule: "grant", view: { ACCESS: viewAt } } }
      const key = `job-${index}` as IdempotencyKey
      const plain = requestOf(own)
      const cancels = own.happens(0.3)
      const follows = own.happens(0.25)
      yield* Effect.sleep(asksAtMs(own, acting.workspace))
      const before = submitted.filter(({ workspace }) => workspace === acting.workspace)
      const request = follows && before.length > 0
        ? { ...plain, after: [{ jobId: own.oneOf(before).jobId, on: own.happens(0.5) ? "over" as const : "succeeded" as const }] }
        : plain
      const submit = untilAnswered(own, desks, sometimes, (desk) => desk.ask((submissions) => submissions.submit(acting, key, request)))
      const twice = own.happens(0.2)
      const answers = yield* Effect.all(twice ? [submit, submit] : [submit], { concurrency: "unbounded" })
      for (const { jobId, repeated } of answers) {
        acknowledged.add(jobId)
        if (repeated) sometimes.saw("submission_repeated")
      }
      const { jobId } = answers[0]!
      submitted.push({ jobId, workspace: acting.workspace })
      if (!cancels) return
      yield* Effect.sleep(own.between(0, 3_000))
      yield* untilAnswered(own, desks, sometimes, (desk) => desk.ask((submissions) => submissions.cancel(acting, jobId)))
      cancelled.add(jobId)
    }), { concurrency: "unbounded", discard: true })
  })

/** Asks one gateway after the other until one answers. A refusal that asking again cannot mend is a bug here. */
const untilAnswered = <A, E extends { readonly _tag: string }>(
  chance: Chance,
  desks: ReadonlyArray<Desk>,
  sometimes: Sometimes,
  ask: (desk: Desk) => Effect.Effect<A, E>
): Effect.Effect<A> =>
  Effect.gen(function*() {
    while (true) {
      const result = yield* Effect.result(ask(chance.oneOf(desks)))
      if (result._tag === "Success") return result.success
      const { _tag } = result.failure
      if (_tag !== "Unanswered" && _tag !== "JournalUnavailable") return yield* Effect.die(result.failure)
      sometimes.saw("client_asked_again")
      yield* Effect.sleep(chance.between(50, 500))
    }
  })

/** Small jobs, of which most are soon over. */
export const plainRequest = (chance: Chance): JobRequest => ({
  runtime: chance.happens(0.25) ? "noop" : "process",
  trust: "own",
  resources: {
    cpuMilli: chance.between(1, 3) * 500,
    memoryMib: chance.between(1, 4) * 128,
    diskMib: 0,
    ...chance.oneOf([{ gpus: 0 }, { gpus: 0 }, { gpus: 0 }, { gpus: 1 }, { gpus: 0, gpuMilli: chance.between(1, 3) * 250 }])
  },
  argv: ["work"],
  env: {},
  labels: {},
  attemptsMax: chance.between(1, 3),
  runMsMax: chance.happens(0.3) ? 1_000 : chance.oneOf([60_000, 1_800_000]),
  onSilence: { keepMs: chance.oneOf([0, 4_000, 8_000]) },
  ...(chance.happens(0.15) ? { queueMsMax: chance.between(500, 4_000) } : {}),
  ...(chance.happens(0.25) ? { array: arrayOf(chance) } : {})
})

const arrayOf = (chance: Chance): NonNullable<JobRequest["array"]> => ({
  tasks: chance.between(2, 4),
  ...(chance.happens(0.4) ? { parallelismMax: chance.between(1, 2) } : {}),
  ...(chance.happens(0.3) ? { failuresMax: chance.between(0, 1) } : {})
})
