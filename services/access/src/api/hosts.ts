import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { Admissions } from "../reactors/admissions.ts"
import { Api, EnrolmentRefused, EnrolmentUnclear } from "./api.ts"

/** How long an enrolment waits for the log and the server, in ms. */
const answerMsMax = 15_000

export const HostsLive = HttpApiBuilder.group(Api, "hosts", Effect.fn(function*(handlers) {
  const admissions = yield* Admissions
  return handlers.handleAll({
    enrol: ({ payload: { oneTimeKey, publicKey } }) => answered(admissions.enrol(oneTimeKey, publicKey)),
    renew: ({ payload: { atMs, publicKey, signature } }) => answered(admissions.renew(publicKey, atMs, signature))
  })
}))

const answered = <A, E extends { readonly _tag: string; readonly message: string }>(effect: Effect.Effect<A, E>) =>
  effect.pipe(
    Effect.timeoutOrElse({ duration: answerMsMax, orElse: () => Effect.fail({ _tag: "Silent", message: "the log did not answer in time" }) }),
    Effect.mapError((error) =>
      error._tag === "KeyRefused" || error._tag === "HostUnknown"
        ? new EnrolmentRefused({
          code: error._tag === "KeyRefused" ? "one_time_key_refused" : "host_unknown",
          what: error._tag === "KeyRefused" ? "this one-time key admits nobody: it is unknown, used or over" : "no admitted host holds this key",
          where: "the cell's roster",
          remedy: "ask whoever runs the cell for a new one-time key"
        })
        : new EnrolmentUnclear({ code: "enrolment_unclear", what: error.message, where: "the cell", remedy: "ask again with the same keys: one host is admitted once" }))
  )
