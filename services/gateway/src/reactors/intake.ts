import { authenticate } from "@millrace/authority"
import { Intake, type Submission } from "@millrace/journal"
import { Authority, type Caller, digestOfToken } from "@millrace/service"
import { Clock, Effect, Layer, Option, Schema } from "effect"
import { hash } from "node:crypto"
import { IdempotencyKey, JobRequest } from "../domain/request.ts"
import { Entrance, type EntranceRefusal } from "./entrance.ts"
import { Pace } from "./pace.ts"

const readRequest = Schema.decodeUnknownResult(Schema.fromJsonString(JobRequest), { onExcessProperty: "error" })
const readKey = Schema.decodeUnknownOption(IdempotencyKey)
const catchUpMsMax = 1_000

interface Trouble {
  readonly code: string
  readonly what: string
  readonly where: string
  readonly remedy: string
}

/** Takes jobs that are published to NATS, as the API takes them: the same door, the same answers. */
export const takeSubmissions = (refusal: (error: EntranceRefusal) => object): Layer.Layer<never, never, Authority | Entrance | Intake | Pace> =>
  Layer.effectDiscard(Effect.gen(function*() {
    const authority = yield* Authority
    const entrance = yield* Entrance
    const intake = yield* Intake
    const pace = yield* Pace

    const speakerOf = Effect.fnUntraced(function*({ authorization = "", workspace }: Submission): Effect.fn.Return<Caller["Service"], Trouble> {
      const token = /^Bearer (\S{1,512})$/u.exec(authorization)?.[1]
      if (token === undefined) return yield* Effect.fail(unknownToken)
      const look = Effect.map(Clock.currentTimeMillis, (atMs) => authenticate(authority.view, digestOfToken(token), atMs))
      const found = (yield* look) ?? (yield* Effect.andThen(authority.catchUp(catchUpMsMax), look))
      // Whose token it is, is not told to whoever knocks at another workspace's door.
      return found === undefined || found.workspace !== workspace ? yield* Effect.fail(unknownToken) : found
    })

    yield* intake.take((submission) =>
      Effect.gen(function*() {
        const caller = yield* speakerOf(submission)
        yield* Effect.mapError(pace.keep(caller.workspace), ({ words }) => words)
        const request = readRequest(submission.body)
        if (request._tag === "Failure") return yield* Effect.fail(malformed(request.failure.message))
        const key = submission.idempotencyKey === undefined
          // The same message under no key is the same job: whoever publishes it twice meant it once.
          ? IdempotencyKey.make(`nats-${hash("sha256", submission.body, "hex")}`)
          : Option.getOrUndefined(readKey(submission.idempotencyKey))
        if (key === undefined) return yield* Effect.fail(malformedKey)
        return yield* Effect.mapError(entrance.enter(caller, key, request.success), refusal)
      }).pipe(Effect.catch((trouble) => Effect.succeed(trouble))))
  }))

const where = "the message"
const unknownToken: Trouble = {
  code: "token_unknown",
  what: "the bearer token is missing, unknown, over, revoked, or not one of this workspace",
  where: "the Authorization header of the message",
  remedy: "publish with the header Authorization: Bearer mill_..."
}
const malformedKey: Trouble = {
  code: "idempotency_key_malformed",
  what: "an idempotency key is 1 to 128 letters, digits, dashes, underscores or colons",
  where: "the Idempotency-Key header of the message",
  remedy: "choose another key, such as a UUID"
}
const malformed = (what: string): Trouble => ({ code: "request_malformed", what: what.replaceAll("\n", " "), where, remedy: "compare it with POST /v1/jobs in /openapi.json" })
