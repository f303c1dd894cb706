import { Blobs } from "@millrace/blobs"
import { Journal } from "@millrace/journal"
import { Database } from "@millrace/readmodel"
import { type BlobRef, Digest } from "@millrace/schemas"
import { Cause, Context, Effect, Schema, Semaphore, Stream } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { claim } from "../reactors/claims.ts"
import { Holdings } from "../reactors/holdings.ts"
import type { Gate } from "../reactors/gate.ts"
import { Api } from "./api.ts"
import { blobAnswer } from "./bytes-answer.ts"
import { allowed } from "./bytes-gate.ts"
import { BadRequest, Conflict, logSilent, NotFound, TooLarge, Unavailable } from "./errors.ts"

/** Bounds of what is put. */
export interface BlobLimits {
  /** The most bytes that one put may bring. */
  readonly sizeBytesMax: number
  /** Puts at once; more are turned away. */
  readonly putsMax: number
  /** A put on which nothing moves for this long is given up, in ms. */
  readonly idleMsMax: number
}

/** The limits of this gateway. 1 GiB, 64 at once and 30 s unless told. */
export const BlobBounds = Context.Reference<BlobLimits>("millrace/gateway/BlobBounds", {
  defaultValue: () => ({ sizeBytesMax: 2 ** 30, putsMax: 64, idleMsMax: 30_000 })
})

/** Bytes by their digest, for whoever may know them. */
export const BlobsLive = HttpApiBuilder.group(Api, "blobs", Effect.fn(function*(handlers) {
  const stores = yield* Effect.context<Blobs | Database | Gate | Journal>()
  const blobs = yield* Blobs
  const holdings = yield* Holdings
  const limits = yield* BlobBounds
  const puts = yield* Semaphore.make(limits.putsMax)

  const receive = Effect.fnUntraced(function*(digest: Digest | undefined) {
    const request = yield* HttpServerRequest.HttpServerRequest
    if (Number(request.headers["content-length"] ?? 0) > limits.sizeBytesMax) return yield* tooLarge(limits.sizeBytesMax)
    const incoming = request.stream.pipe(
      Stream.mapError(brokenOff),
      Stream.timeoutOrElse({ duration: limits.idleMsMax, orElse: () => Stream.fail(brokenOff()) })
    )
    return yield* blobs.put(incoming, { sizeBytesMax: limits.sizeBytesMax, ...(digest === undefined ? {} : { digest }) }).pipe(
      Effect.catchTags({
        BlobCorrupt: ({ found }) => Effect.fail(new Conflict({
          code: "digest_mismatch",
          what: `the bytes are ${found.digest} (${found.sizeBytes} bytes), not ${digest}`,
          where: "the digest of the query",
          remedy: "send the bytes that the digest names, or leave the digest away"
        })),
        BlobTooLarge: () => Effect.fail(tooLarge(limits.sizeBytesMax)),
        BlobStoreFull: (error) => Effect.fail(storeTrouble("store_full", error.message)),
        BlobStoreUnclear: (error) => Effect.fail(storeTrouble("store_unavailable", error.message))
      })
    )
  })

  return handlers
    .handleRaw("put", Effect.fnUntraced(function*({ query }) {
      const who = yield* allowed("blob.put", "blob/new").pipe(Effect.provideContext(stores))
      const stored = yield* puts.withPermitsIfAvailable(1)(receive(query.digest))
      if (stored._tag === "None") return yield* storeTrouble("busy", `${limits.putsMax} puts are under way`)
      const blob: BlobRef = stored.value
      yield* claim({ ...who, blob }).pipe(
        Effect.provideContext(stores),
        Effect.timeout("10 seconds"),
        Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : Effect.fail(logSilent))
      )
      return { digest: blob.digest, sizeBytes: blob.sizeBytes }
    }))
    .handle("get", Effect.fnUntraced(function*({ params, query }) {
      const digest = params.digest
      if (!Schema.is(Digest)(digest)) return yield* noSuchBlob
      const { workspace } = yield* allowed("blob.read", `blob/${digest}`).pipe(Effect.provideContext(stores))
      const ours = yield* Effect.mapError(holdings.holds(workspace, digest), () => logSilent)
      if (!ours) return yield* noSuchBlob
      const { sizeBytes } = yield* Effect.mapError(blobs.head(digest), (error) =>
        error._tag === "BlobMissing" ? noSuchBlob : storeTrouble("store_unavailable", error.message))
      const { headers } = yield* HttpServerRequest.HttpServerRequest
      // Whoever has the bytes asks whether they may be had: a host with a copy, before it gives it to a program.
      if (query.offset === undefined && headers["if-none-match"] === `"${digest}"`) return HttpServerResponse.empty({ status: 304, headers: { etag: `"${digest}"` } })
      return yield* blobAnswer({ digest, sizeBytes }, { name: digest.slice("sha256:".length), ...query }).pipe(Effect.provideContext(stores))
    }))
}))

const noSuchBlob = new NotFound({
  code: "blob_unknown",
  what: "this workspace holds no bytes of that digest",
  where: "this workspace",
  remedy: "put them with PUT /v1/blobs, or read what a job made by its name"
})

const tooLarge = (sizeBytesMax: number) =>
  new TooLarge({ code: "blob_too_large", what: `more than ${sizeBytesMax} bytes`, where: "the request's body", remedy: "send it in smaller parts" })

const storeTrouble = (code: string, what: string) =>
  new Unavailable({ code, what, where: "the blob store", remedy: "send the same bytes again in a moment: they are stored once" })

const brokenOff = () =>
  new BadRequest({ code: "body_broken_off", what: "the bytes stopped coming before their end", where: "the request's body", remedy: "send them again" })
