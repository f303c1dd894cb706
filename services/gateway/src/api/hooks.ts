import { TriggerName, WorkspaceName } from "@millrace/schemas"
import { Caller } from "@millrace/service"
import { Context, Effect, Redacted, Result, Schema, Stream } from "effect"
import { HttpServerRequest } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { randomBytes } from "node:crypto"
import { batchMax, dataCharsMax, eventsIn } from "../domain/cloud-event.ts"
import { Events } from "../reactors/events.ts"
import { Pace } from "../reactors/pace.ts"
import { secretText } from "../reactors/signature.ts"
import { Api } from "./api.ts"
import { BadRequest, cellTrouble, Forbidden, logSilent, NotFound, TooLarge } from "./errors.ts"
import { metered } from "./metered.ts"
import { refusalOf } from "./refusals.ts"

/** How long an event waits for the log before its sender is told to send it again, in ms. */
const tellMsMax = 10_000
const secretBytes = 32
const bodyBytesMax = 4 * 1024 * 1024

/** How a hook's secret comes about. */
export const HookSecret = Context.Reference<() => Uint8Array>("millrace/gateway/HookSecret", { defaultValue: () => () => randomBytes(secretBytes) })

const telling = Effect.gen(function*() {
  const events = yield* Events
  return Effect.fnUntraced(function*(caller: Caller["Service"], headers: Readonly<Record<string, string | undefined>>, body: Uint8Array) {
    const read = eventsIn(headers, Buffer.from(body).toString("utf8"))
    if (Result.isFailure(read)) {
      const { what, where } = read.failure
      return yield* new BadRequest({
        code: "event_malformed",
        what,
        where,
        remedy: `send a CloudEvent of version 1.0, with at most ${dataCharsMax} characters of data, or a batch of at most ${batchMax}`
      })
    }
    const told = yield* Effect.forEach(read.success, (event) => events.tell(caller, event)).pipe(
      Effect.mapError((error) => {
        switch (error._tag) {
          case "EventUnstored":
            return cellTrouble("store_unavailable", `the event's data cannot be stored: ${error.detail}`)
          case "CommitRefused":
            return cellTrouble(error.reason, error.message)
          case "JournalUnavailable":
            return logSilent
          default:
            return refusalOf(error)
        }
      }),
      Effect.timeoutOrElse({ duration: tellMsMax, orElse: () => Effect.fail(logSilent) })
    )
    return { events: told }
  })
})

const bodyOf = Effect.gen(function*() {
  const request = yield* HttpServerRequest.HttpServerRequest
  const chunks: Array<Uint8Array> = []
  let size = 0
  yield* request.stream.pipe(
    Stream.mapError(() => new BadRequest({ code: "body_broken_off", what: "the body stopped coming before its end", where: "the request's body", remedy: "send it again: each event is told once" })),
    Stream.runForEach((chunk) => {
      size += chunk.length
      if (size > bodyBytesMax) return Effect.fail(new TooLarge({ code: "event_too_large", what: `more than ${bodyBytesMax} bytes`, where: "the request's body", remedy: "send smaller batches, and large data as a blob" }))
      chunks.push(chunk)
      return Effect.void
    })
  )
  return { headers: request.headers as Readonly<Record<string, string | undefined>>, body: Buffer.concat(chunks) }
})

/** Events told with a token, and the hooks that stand open. */
export const EventsLive = HttpApiBuilder.group(Api, "events", Effect.fn(function*(handlers) {
  const events = yield* Events
  const makeSecret = yield* HookSecret
  const tell = yield* telling
  return handlers
    .handleRaw("tell", Effect.fnUntraced(function*() {
      const { body, headers } = yield* bodyOf
      return yield* tell(yield* Caller, headers, body)
    }))
    .handle("open", Effect.fnUntraced(function*({ params }) {
      const caller = yield* Caller
      const secret = secretText(makeSecret())
      const cut = yield* events.open(caller, params.name, Redacted.make(secret)).pipe(
        Effect.mapError((error) =>
          error._tag === "CommitRefused"
            ? cellTrouble(error.reason, error.message)
            : error._tag === "KeyringUnavailable"
            ? cellTrouble("keyring_unavailable", error.message)
            : error._tag === "JournalUnavailable"
            ? logSilent
            : refusalOf(error)),
        Effect.timeoutOrElse({ duration: tellMsMax, orElse: () => Effect.fail(logSilent) })
      )
      return { secret, path: `/v1/hooks/${caller.workspace}/${params.name}`, cut }
    }))
    .handle("close", Effect.fnUntraced(function*({ params }) {
      const cut = yield* events.close(yield* Caller, params.name).pipe(
        Effect.mapError((error) =>
          error._tag === "HookUnknown"
            ? noSuchHook
            : error._tag === "CommitRefused"
            ? cellTrouble(error.reason, error.message)
            : error._tag === "JournalUnavailable"
            ? logSilent
            : refusalOf(error)),
        Effect.timeoutOrElse({ duration: tellMsMax, orElse: () => Effect.fail(logSilent) })
      )
      return { cut }
    }))
}))

/** Events told by strangers who sign. */
export const HooksLive = HttpApiBuilder.group(Api, "hooks", Effect.fn(function*(handlers) {
  const events = yield* Events
  const pace = yield* Pace
  const tell = yield* telling
  return handlers.handleRaw("receive", Effect.fnUntraced(function*({ params }) {
    if (!Schema.is(WorkspaceName)(params.workspace) || !Schema.is(TriggerName)(params.name)) return yield* noSuchHook
    const { body, headers } = yield* bodyOf
    // A signature is over the body alone: what stands in headers anybody between may change.
    if (headers["ce-specversion"] !== undefined) return yield* unsigned
    const caller = yield* events.speaker(params.workspace, params.name, headers, body).pipe(
      Effect.mapError((error) => {
        switch (error._tag) {
          case "SignatureRefused":
            return new Forbidden({ code: "signature_refused", what: error.why, where: "the webhook headers", remedy: "sign with the hook's secret as Standard Webhooks says, with the time of sending" })
          case "KeyringUnavailable":
            return cellTrouble("keyring_unavailable", error.message)
        }
      })
    )
    yield* metered(pace, caller.workspace)
    return yield* tell(caller, headers, body)
  }))
}))

const unsigned = new BadRequest({
  code: "event_malformed",
  what: "the event's attributes stand in ce- headers, which no signature covers",
  where: "the ce- headers",
  remedy: "send the whole event as its body, as application/cloudevents+json, and sign that"
})

const noSuchHook = new NotFound({ code: "hook_unknown", what: "there is no such hook", where: "the path", remedy: "open it with: millrace triggers hook NAME" })
