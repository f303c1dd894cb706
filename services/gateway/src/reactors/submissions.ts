import { deriveId } from "@millrace/decider"
import { type Appended, type Commit, type CommitRefused, cutOf, Journal, type JournalUnavailable, readable } from "@millrace/journal"
import { type Cut, type FactId, type JobId, type JobSubmitted, type MillFact, Program, type WorkspaceName } from "@millrace/schemas"
import { Keyring, type KeyringUnavailable, sealValue } from "@millrace/service"
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { digestOf, type IdempotencyKey, isDigestOf, jobIdOf, type JobRequest, programOf, specOf } from "../domain/request.ts"
import type { Acting } from "./gate.ts"

/** One idempotency key, two requests. The first stands. */
export class IdempotencyMismatch extends Schema.TaggedError<IdempotencyMismatch>()("IdempotencyMismatch", {
  key: Schema.String,
  jobId: Schema.String
}) {
  override get message() {
    return `The idempotency key ${this.key} already names ${this.jobId}, which asked for something else`
  }
}

/** No job of that id was submitted in that workspace. */
export class JobUnknown extends Schema.TaggedError<JobUnknown>()("JobUnknown", { jobId: Schema.String }) {}

export interface Submitted {
  readonly jobId: JobId
  /** Right behind the submission: a read that waits for it sees the job. */
  readonly cut: Cut
  /** Whether the job had been submitted before, by this same request. */
  readonly repeated: boolean
}

/** How a submission came about, where nobody asked for it over the API. */
export interface Beginning {
  /** The trigger that starts it. */
  readonly origin?: NonNullable<JobSubmitted["origin"]>
  /** The fact that it follows from. */
  readonly causedBy?: FactId
  /** How many steps of programs that submit programs it is deep: with `Acting.parent`. */
  readonly depth?: number
}

const sealProgram = sealValue(Program)

/** Who acts through one attempt's socket vouches for nothing, and neither does an agent. */
export const vouches = ({ parent, principal }: Pick<Acting, "parent" | "principal">): boolean => parent === undefined && !principal.startsWith("agent:")

/** Writes down what people ask of jobs. Once it has answered, the log holds it. */
export class Submissions extends Context.Service<Submissions, {
  /** Submits what was allowed, or finds what the same request submitted before. */
  readonly submit: (acting: Acting, key: IdempotencyKey, request: JobRequest, beginning?: Beginning) => Effect.Effect<
    Submitted,
    IdempotencyMismatch | CommitRefused | JournalUnavailable | KeyringUnavailable
  >
  /** Asks for a job's end. Asking again adds nothing. */
  readonly cancel: (acting: Acting, jobId: JobId) => Effect.Effect<Cut, JobUnknown | CommitRefused | JournalUnavailable>
  /** How a job was submitted, from the log itself. */
  readonly find: (workspace: WorkspaceName, jobId: JobId) => Effect.Effect<JobSubmitted, JobUnknown | JournalUnavailable>
}>()("millrace/gateway/Submissions") {
  static readonly layer: Layer.Layer<Submissions, never, Journal | Keyring> = Layer.effect(Submissions, Effect.gen(function*() {
    const journal = yield* Journal
    const keyring = yield* Keyring

    const submit = Effect.fnUntraced(function*(acting: Acting, key: IdempotencyKey, request: JobRequest, { causedBy, depth = 1, origin }: Beginning = {}) {
      const { decision, grant, parent, principal, workspace } = acting
      const jobId = jobIdOf(workspace, key)
      const requestDigest = digestOf(request)
      const atMs = yield* Clock.currentTimeMillis
      const program = yield* sealProgram(workspace, programOf(request), `${jobId}/program`).pipe(Effect.provideService(Keyring, keyring))
      const event: MillFact = {
        _tag: "JobSubmitted",
        jobId,
        workspace,
        submittedBy: principal,
        ...(request.name === undefined ? {} : { name: request.name }),
        ...(grant === undefined ? {} : { grant }),
        spec: specOf(request, program, vouches(acting)),
        requestDigest,
        decision,
        ...(parent === undefined ? {} : { parent: { ...parent, depth } }),
        ...(origin === undefined ? {} : { origin })
      }
      // The nonce is this submission's own, so that one which comes in the same millisecond is not taken for it.
      const id = deriveId<FactId>("fct", atMs, jobId, "gateway", "submitted", requestDigest, program.nonce)
      const subject = { kind: "job", scope: workspace, story: jobId }
      const fact = { id, partOf: id, event, ...(grant === undefined ? {} : { grant }), ...(causedBy === undefined ? {} : { causedBy }) }
      const said: Commit = { subject, actor: principal, happenedAtMs: atMs, facts: [fact] }
      return yield* journal.append(said, { last: "subject", sequence: 0 }).pipe(
        Effect.map((appended): Submitted => ({ jobId, cut: cutOf(appended), repeated: false })),
        Effect.catchTag("Overtaken", () => Effect.flatMap(journal.story(subject), (story) => {
          const first = story[0]
          const found = first === undefined ? undefined : readable(first).facts[0]?.event
          return found?._tag === "JobSubmitted" && isDigestOf(found.requestDigest, request)
            ? Effect.succeed<Submitted>({ jobId, cut: { [first!.place.stream]: first!.place.sequence }, repeated: true })
            : Effect.fail(new IdempotencyMismatch({ key, jobId }))
        }))
      )
    })

    const find = Effect.fnUntraced(function*(workspace: WorkspaceName, jobId: JobId) {
      const story = yield* journal.story({ kind: "job", scope: workspace, story: jobId })
      const first = story[0] === undefined ? undefined : readable(story[0]).facts[0]?.event
      return first?._tag === "JobSubmitted" ? first : yield* new JobUnknown({ jobId })
    })

    const cancel = Effect.fnUntraced(function*({ decision, grant, principal, workspace }: Acting, jobId: JobId) {
      const subject = { kind: "job", scope: workspace, story: jobId }
      const look = Effect.gen(function*() {
        const story = yield* journal.story(subject)
        const first = story[0]?.facts[0]
        const last = story.at(-1)
        if (first === undefined || last === undefined) return yield* new JobUnknown({ jobId })
        const asked = story.find(({ facts }) => facts.some(({ name }) => name === "JobCancelRequested"))
        if (asked !== undefined) return { stream: asked.place.stream, sequence: asked.place.sequence, epoch: asked.place.epoch } satisfies Appended
        const atMs = yield* Clock.currentTimeMillis
        const event: MillFact = { _tag: "JobCancelRequested", jobId, workspace, requestedBy: principal, decision }
        const id = deriveId<FactId>("fct", atMs, first.id, "gateway", "cancel", last.place.sequence)
        return yield* journal.append(
          { subject, actor: principal, happenedAtMs: atMs, facts: [{ id, partOf: first.id, causedBy: first.id, event, ...(grant === undefined ? {} : { grant }) }] },
          { last: "subject", sequence: last.place.sequence }
        )
      })
      // Another cancel may come between looking and saying; then the second look finds it.
      const asked = yield* look.pipe(
        Effect.retry({ times: 5, while: (error) => error._tag === "Overtaken" }),
        Effect.catchTag("Overtaken", (error) => Effect.die(error))
      )
      return cutOf(asked)
    })

    return { submit, cancel, find }
  }))
}
