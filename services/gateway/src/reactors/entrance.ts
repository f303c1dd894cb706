import type { Needs } from "@millrace/authority"
import { type CommitRefused, Journal, type JournalUnavailable } from "@millrace/journal"
import { estimate } from "@millrace/pricing"
import type { JobId, WorkspaceName } from "@millrace/schemas"
import { type Caller, type KeyringUnavailable, looksLikeCredential } from "@millrace/service"
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { type Contradiction, contradictionIn } from "../domain/gpu-ask.ts"
import { digestOf, type IdempotencyKey, jobIdOf, type JobRequest, plainPartsOf, programBytesMax, programOf, trustOf } from "../domain/request.ts"
import { Gate, type NotAllowed, type RefusalUntold, type ViewStale } from "./gate.ts"
import { Holdings } from "./holdings.ts"
import { Prices } from "./prices.ts"
import { type Beginning, type IdempotencyMismatch, Submissions, type Submitted, vouches } from "./submissions.ts"

/** The request cannot be taken as it is, whoever asks. */
export class RequestUnfit extends Schema.TaggedError<RequestUnfit>()("RequestUnfit", {
  code: Schema.Literals(["program_too_large", "credential_in_plain", "dependency_unknown", "blob_unknown", "parent_unknown", "ask_contradictory"]),
  what: Schema.String,
  where: Schema.String,
  remedy: Schema.String
}) {}

export type EntranceRefusal =
  | RequestUnfit | NotAllowed | ViewStale | RefusalUntold | IdempotencyMismatch | CommitRefused | JournalUnavailable | KeyringUnavailable

/** The one way in for jobs: over the API, by a trigger, or from inside another job. */
export class Entrance extends Context.Service<Entrance, {
  /**
   * Decides whether somebody may submit this now, and submits nothing: for what is to be submitted in their name
   * later. It lies as deep then as it would now.
   */
  readonly weigh: (caller: Caller["Service"], key: IdempotencyKey, request: JobRequest) => Effect.Effect<{ readonly depth: number }, EntranceRefusal>
  /**
   * Submits in somebody's name: checks the request, decides, and writes it down. The same key with the same
   * request finds the first job, so whoever fell between asking and hearing the answer asks again.
   */
  readonly enter: (caller: Caller["Service"], key: IdempotencyKey, request: JobRequest, beginning?: Omit<Beginning, "depth">) => Effect.Effect<Submitted, EntranceRefusal>
}>()("millrace/gateway/Entrance") {
  static readonly layer: Layer.Layer<Entrance, never, Gate | Holdings | Journal | Prices | Submissions> = Layer.effect(Entrance, Effect.gen(function*() {
    const gate = yield* Gate
    const holdings = yield* Holdings
    const journal = yield* Journal
    const prices = yield* Prices
    const submissions = yield* Submissions

    /** Jobs that it waits for and bytes that it takes are its own workspace's: an id of another one is as good as none. */
    const known = Effect.fnUntraced(function*(workspace: WorkspaceName, request: JobRequest) {
      yield* Effect.forEach(request.after ?? [], ({ jobId }, at) =>
        Effect.flatMap(journal.last({ kind: "job", scope: workspace, story: jobId }), (found) =>
          found === undefined ? Effect.fail(unfit.dependency(jobId, at)) : Effect.void), { concurrency: 4, discard: true })
      // Its program will read these bytes: they must be the workspace's, or a digest would open what others hold.
      yield* Effect.forEach(request.files ?? [], ({ blob: { digest } }, at) =>
        Effect.flatMap(holdings.holds(workspace, digest), (ours) => ours ? Effect.void : Effect.fail(unfit.file(digest, at))), { concurrency: 4, discard: true })
    })

    /** How many steps of programs that submitted programs lie above a job. */
    const depthOf = (workspace: WorkspaceName, jobId: JobId) =>
      submissions.find(workspace, jobId).pipe(
        Effect.map(({ origin, parent }) => parent?.depth ?? origin?.depth ?? 0),
        Effect.catchTag("JobUnknown", () => Effect.fail(unfit.parent(jobId)))
      )

    const admitted = Effect.fnUntraced(function*(caller: Caller["Service"], key: IdempotencyKey, request: JobRequest, depthBefore = 0) {
      yield* checked(request)
      const { parent, workspace } = caller
      const jobId = jobIdOf(workspace, key)
      const depth = parent === undefined ? depthBefore : 1 + (yield* depthOf(workspace, parent.jobId))
      const asked = {
        action: "job.submit",
        within: ["job", jobId],
        ...(request.grant === undefined ? {} : { grant: request.grant }),
        argumentsDigest: digestOf(request),
        jobId
      } as const
      if (trustOf(request, false) === "own" && !vouches(caller)) return yield* gate.refuse(caller, asked, { rule: "agents-vouch-for-nothing" })
      // A plain process can do whatever its host's agent can: read its keys, and every other job's files.
      if (request.runtime === "process" && trustOf(request, vouches(caller)) === "others") return yield* gate.refuse(caller, asked, { rule: "others-are-isolated" })
      const atMs = yield* Clock.currentTimeMillis
      const acting = yield* gate.pass(caller, { ...asked, needs: needsOf(request, depth, prices.ratesAt(workspace, atMs)) })
      // Its program finds there what others have left: starting from it is reading it.
      if (request.startFrom !== undefined) yield* gate.pass(caller, { ...asked, action: "snapshot.read", within: ["snapshot", request.startFrom] })
      return { acting, depth }
    })

    const enter = Effect.fnUntraced(function*(caller: Caller["Service"], key: IdempotencyKey, request: JobRequest, beginning: Omit<Beginning, "depth"> = {}) {
      const { acting, depth } = yield* admitted(caller, key, request, beginning.origin?.depth)
      if (request.after !== undefined || request.files !== undefined) yield* known(caller.workspace, request)
      return yield* submissions.submit(acting, key, request, { ...beginning, depth })
    })

    return { enter, weigh: admitted }
  }))
}

const checked = (request: JobRequest): Effect.Effect<void, RequestUnfit> => {
  if (JSON.stringify(programOf(request)).length > programBytesMax) return Effect.fail(unfit.size)
  const contradiction = contradictionIn(request)
  if (contradiction !== undefined) return Effect.fail(unfit.contradiction(contradiction))
  for (const { text, where } of plainPartsOf(request)) {
    const kind = looksLikeCredential(text)
    if (kind !== undefined) return Effect.fail(unfit.credential(where, kind))
  }
  return Effect.void
}

const tasksOf = (tasks: number | undefined) => (tasks === undefined ? {} : { tasks })

/** What a job would use of what grants limit. Without a price book nobody can say what it costs, and the door does not ask. */
const needsOf = ({ array, egress, gang, gpu, resources, runMsMax, where }: JobRequest, depth: number, rates: ReturnType<Prices["Service"]["ratesAt"]>): Needs => ({
  cpuMilli: resources.cpuMilli,
  memoryMib: resources.memoryMib,
  diskMib: resources.diskMib,
  // A part of a device is one that others cannot have whole.
  gpus: Math.max(resources.gpus, Math.ceil((resources.gpuMilli ?? 0) / 1000)),
  // What is not named is narrowed to what its grant allows when it is placed.
  gpuModels: (gpu ?? []).flatMap(({ model }) => model ?? []),
  providers: where?.only?.providers ?? [],
  regions: where?.only?.regions ?? [],
  runMs: runMsMax,
  egress: egress ?? [],
  ...(depth === 0 ? {} : { depth }),
  ...(rates === undefined ? {} : { spendPico: estimate(rates, { held: resources, runMsMax, ...tasksOf(gang?.members ?? array?.tasks) }).totalPico })
})

const unfit = {
  size: new RequestUnfit({
    code: "program_too_large",
    what: `argv, env, labels and files together are larger than ${programBytesMax} bytes`,
    where: "the request's body",
    remedy: "put large values into a file: PUT /v1/blobs, and name its digest in files"
  }),
  credential: (where: string, kind: string) =>
    new RequestUnfit({
      code: "credential_in_plain",
      what: `${where} looks like a credential (${kind}), and lies in the open`,
      where,
      remedy: "pass it in env: that is sealed under the workspace's key, and only the program reads it"
    }),
  contradiction: (contradiction: Contradiction) => new RequestUnfit({ code: "ask_contradictory", ...contradiction }),
  dependency: (jobId: string, at: number) =>
    new RequestUnfit({
      code: "dependency_unknown",
      what: `there is no job ${jobId}`,
      where: `after[${at}]`,
      remedy: "name jobs of this workspace; list them with: millrace ls"
    }),
  file: (digest: string, at: number) =>
    new RequestUnfit({
      code: "blob_unknown",
      what: `this workspace holds no bytes ${digest}`,
      where: `files[${at}]`,
      remedy: "put them first with PUT /v1/blobs, or name what a job of this workspace made"
    }),
  parent: (jobId: string) =>
    new RequestUnfit({
      code: "parent_unknown",
      what: `there is no job ${jobId} that this could be submitted from`,
      where: "the warrant",
      remedy: "submit from inside a job that runs, over its host's local socket"
    })
}
