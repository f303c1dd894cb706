import type { Msg } from "@nats-io/transport-node"
import { Effect, Layer, Option, Queue, Schema } from "effect"
import { intakeSubject } from "../admission/crossing.ts"
import { Intake, Submission, submissionBytesMax } from "../intake.ts"
import type { JournalUnavailable } from "../journal.ts"
import { connectNats, type LogUnfit, type NatsConfig } from "./connect.ts"

const waitingMax = 1_000
const atOnceMax = 32
const readSubmission = Schema.decodeUnknownOption(Submission)

/**
 * An answer goes where the message says, with this service's authority. Aimed at a subject of the log it
 * would be stored there as a fact of ours, so it goes to inboxes alone.
 */
const isInbox = (subject: string | undefined): subject is string => subject !== undefined && /^_INBOX[A-Za-z0-9_]*\.[A-Za-z0-9_.-]+$/u.test(subject)

/** The intake on core NATS, over a connection of its own. */
export const layerIntake = (config: NatsConfig): Layer.Layer<Intake, JournalUnavailable | LogUnfit> =>
  Layer.effect(Intake, Effect.map(connectNats(config), (connection): Intake["Service"] => ({
    take: Effect.fnUntraced(function*(handle) {
      const waiting = yield* Queue.dropping<Msg>(waitingMax)
      const answer = (message: Msg, said: unknown) =>
        Effect.sync(() => {
          if (isInbox(message.reply) && !connection.isClosed()) message.respond(JSON.stringify(said))
        })
      const one = Effect.gen(function*() {
        const message = yield* Queue.take(waiting)
        const submission = message.data.length > submissionBytesMax ? Option.none<Submission>() : submissionIn(message)
        yield* answer(message, Option.isNone(submission) ? notTaken : yield* handle(submission.value))
      })
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          connection.subscribe(intakeSubject("*"), {
            queue: "gateway",
            callback: (error, message) => {
              if (error !== null) return
              if (!Queue.offerUnsafe(waiting, message) && isInbox(message.reply)) message.respond(JSON.stringify(tooMany))
            }
          })),
        (subscription) => Effect.sync(() => subscription.unsubscribe())
      )
      // From here on the server knows of it, unless it is away: then it hears of it when it is back.
      yield* Effect.ignore(Effect.timeout(Effect.tryPromise(() => connection.flush()), "5 seconds"))
      for (let worker = 0; worker < atOnceMax; worker += 1) yield* Effect.forkScoped(Effect.forever(one))
    })
  })))

const submissionIn = (message: Msg): Option.Option<Submission> => {
  const header = (name: string) => message.headers?.get(name) || undefined
  const [authorization, idempotencyKey] = [header("Authorization"), header("Idempotency-Key")]
  return readSubmission({
    workspace: message.subject.split(".")[1],
    ...(authorization === undefined ? {} : { authorization }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    body: message.string()
  })
}

const where = `the message on ${intakeSubject("<workspace>")}`
const notTaken = { code: "request_malformed", what: `the message has no workspace in its subject, or more than ${submissionBytesMax} bytes`, where, remedy: "publish a job request as JSON" }
const tooMany = { code: "rate_limited", what: `${waitingMax} messages wait already`, where, remedy: "publish it again in a moment, under the same idempotency key" }
