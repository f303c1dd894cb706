import type { JobId, Principal, WorkspaceName } from "@millrace/schemas"
import type { Chance, Sometimes } from "@millrace/sim"
import { Effect } from "effect"
import type { IdempotencyKey, JobRequest } from "../../services/gateway/src/domain/request.ts"
import type { Acting } from "../../services/gateway/src/reactors/gate.ts"
import type { Desk } from "./desk.ts"

export interface ClientsOptions {
  readonly chance: Chance
  readonly desks: ReadonlyArray<Desk>
  readonly jobs: number
  readonly forMs: number
  readonly sometimes: Sometimes
  readonly workspaces: ReadonlyArray<WorkspaceName>
  /** Filled as answers come. */
  readonly acknowledged: Set<JobId>
  readonly cancelled: Set<JobId>
}

/** Everybody who submits and cancels in one run. Ends when each has got its answers. */
export const clients = ({ acknowledged, cancelled, chance, desks, forMs, jobs, sometimes, workspaces }: ClientsOptions): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: jobs }, (_, index) => index), (index) =>
    Effect.gen(function*() {
      const own = chance.fork(`client ${index}`)
      const acting: Acting = { principal: "user:ada" as Principal, workspace: own.oneOf(workspaces), decision: { rule: "role.owner", view: {} } }
      const key = `job-${index}` as IdempotencyKey
      const request = requestOf(own)
      const cancels = own.happens(0.3)
      yield* Effect.sleep(own.between(0, Math.floor(forMs * 0.8)))
      const submit = untilAnswered(own, desks, sometimes, (desk) => desk.ask((submissions) => submissions.submit(acting, key, request)))
      const twice = own.happens(0.2)
      const answers = yield* Effect.all(twice ? [submit, submit] : [submit], { concurrency: "unbounded" })
      for (const { jobId, repeated } of answers) {
        acknowledged.add(jobId)
        if (repeated) sometimes.saw("submission_repeated")
      }
      const { jobId } = answers[0]!
      if (!cancels) return
      yield* Effect.sleep(own.between(0, 3_000))
      yield* untilAnswered(own, desks, sometimes, (desk) => desk.ask((submissions) => submissions.cancel(acting, jobId)))
      cancelled.add(jobId)
    }), { concurrency: "unbounded", discard: true })

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

const requestOf = (chance: Chance): JobRequest => ({
  runtime: chance.happens(0.25) ? "noop" : "process",
  trust: "own",
  resources: {
    cpuMilli: chance.between(1, 3) * 500,
    memoryMib: chance.between(1, 4) * 128,
    diskMib: 0,
    gpus: chance.happens(0.2) ? 1 : 0
  },
  argv: ["work"],
  env: {},
  labels: {},
  attemptsMax: chance.between(1, 3),
  runMsMax: chance.happens(0.3) ? 1_000 : 60_000,
  onSilence: { keepMs: chance.happens(0.5) ? 0 : 4_000 }
})
