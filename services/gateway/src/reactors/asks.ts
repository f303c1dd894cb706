import { deriveId, namedId } from "@millrace/decider"
import { type CommitRefused, Journal, type JournalUnavailable, Overtaken, readable } from "@millrace/journal"
import { type AskId, type Cut, encodeFact, type FactId, type MillFact } from "@millrace/schemas"
import { Clock, Context, Effect, Layer, Option, Random, Schema } from "effect"
import { type Ask, ownerOf, type Question, sameQuestion } from "../domain/asks.ts"
import type { IdempotencyKey } from "../domain/request.ts"
import type { Acting } from "./gate.ts"

/** How long an asker waits for the answer before it is told where to find it, in ms. */
export const answerMsMax = 10_000

/** The fact that answers an ask, and where it lies. */
export interface Answer {
  readonly name: string
  readonly body: Record<string, unknown>
  readonly cut: Cut
}

export interface AskSaid {
  readonly askId: AskId
  /** Right behind the ask; behind its answer where there is one. */
  readonly cut: Cut
  /** Whether the same had been asked under this key before. */
  readonly repeated: boolean
  /** Absent when the owner has not answered in time. It will. */
  readonly answer?: Answer
}

/** What is remembered of an ask, at least as new as a cut. */
export interface Remembered {
  readonly name: string
  readonly asked: Record<string, unknown>
  readonly cut: Cut
  readonly answer?: Answer
}

type Said = Omit<AskSaid, "answer"> & { readonly answer?: Answer | undefined }

/** One idempotency key, two questions. The first stands. */
export class QuestionMismatch extends Schema.TaggedError<QuestionMismatch>()("QuestionMismatch", { askId: Schema.String }) {}

/** Says questions to the services behind the gateway, once for each key, and waits a while for their answers. */
export class Asks extends Context.Service<Asks, {
  readonly ask: <E>(
    acting: Acting,
    key: IdempotencyKey | undefined,
    question: Question,
    remembered: (askId: AskId, after: Cut) => Effect.Effect<Remembered | undefined, E>
  ) => Effect.Effect<AskSaid, E | QuestionMismatch | CommitRefused | JournalUnavailable>
}>()("millrace/gateway/Asks") {
  static readonly layer: Layer.Layer<Asks, never, Journal> = Layer.effect(Asks, Effect.map(Journal, (journal) => {
    /** The answer to one ask among what its owner says behind a place. */
    const answerBehind = (owner: ReturnType<typeof ownerOf>, after: number, askId: AskId) =>
      Effect.scoped(Effect.gen(function*() {
        const reader = yield* journal.read(owner, { after })
        while (true) {
          for (const commit of yield* reader.take) {
            for (const { event } of readable(commit).facts) {
              if ("answers" in event && event.answers === askId) {
                return { name: event._tag, body: encodeFact(event).body, cut: { [owner]: commit.place.sequence } } satisfies Answer
              }
            }
          }
        }
      })).pipe(Effect.timeoutOption(answerMsMax), Effect.map(Option.getOrUndefined))

    return {
      ask: Effect.fnUntraced(function*<E>(
        acting: Acting,
        key: IdempotencyKey | undefined,
        question: Question,
        remembered: (askId: AskId, after: Cut) => Effect.Effect<Remembered | undefined, E>
      ): Effect.fn.Return<AskSaid, E | QuestionMismatch | CommitRefused | JournalUnavailable> {
        const { decision, grant, principal, workspace } = acting
        const askId = key === undefined
          ? deriveId<AskId>("ask", yield* Clock.currentTimeMillis, workspace, principal, yield* Random.next, yield* Random.next)
          : namedId<AskId>("ask", workspace, "ask", key)
        const owner = ownerOf(question._tag)
        const event = { ...question, askId, workspace, askedBy: principal, decision } as Ask
        const subject = { kind: "ask", scope: workspace }
        // Taken before the ask is said, so that its answer lies behind it.
        const ownersHead = yield* journal.head(owner)

        const say: Effect.Effect<Said, E | QuestionMismatch | CommitRefused | JournalUnavailable | Overtaken> = Effect.gen(function*() {
          const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
          const known = key === undefined ? undefined : yield* remembered(askId, { GATEWAY: sequence, [owner]: ownersHead })
          if (known !== undefined) {
            if (known.name !== question._tag || !sameQuestion(known.asked, encodeFact(event).body)) return yield* new QuestionMismatch({ askId })
            return { askId, repeated: true, ...known }
          }
          const happenedAtMs = yield* Clock.currentTimeMillis
          const id = deriveId<FactId>("fct", happenedAtMs, askId, "gateway", "asked", sequence)
          const facts = [{ id, partOf: id, event: event as MillFact, ...(grant === undefined ? {} : { grant }) }] as const
          const appended = yield* journal.append({ subject, actor: principal, happenedAtMs, facts }, { last: "subject", sequence })
          return { askId, repeated: false, cut: { [appended.stream]: appended.sequence }, answer: undefined }
        })
        // Others ask in the same workspace at the same time; whoever was overtaken looks again.
        const { answer: before, cut, repeated } = yield* say.pipe(
          Effect.retry({ times: 50, while: (error) => error instanceof Overtaken }),
          Effect.catchIf((error): error is Overtaken => error instanceof Overtaken, (error) => Effect.die(error))
        )
        const answer = before ?? (yield* answerBehind(owner, ownersHead, askId))
        return { askId, repeated, cut: { ...cut, ...answer?.cut }, ...(answer === undefined ? {} : { answer }) }
      })
    }
  }))
}
