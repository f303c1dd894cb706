import { Bytes, Count, Digest } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import { Authentication, Wellformed } from "@millrace/service"
import { BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unavailable } from "./errors.ts"
import { Metered } from "./metered.ts"

const NaturalText = Schema.NumberFromString.pipe(Schema.check(Schema.isInt()), Schema.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })))

/** Which of the two streams that every program has. */
export const OutputName = Schema.Literals(["stdout", "stderr"])
export type OutputName = typeof OutputName.Type

/** Of an array: which task. Without it the job itself, or the first task of an array. */
const which = {
  task: Schema.optionalKey(NaturalText.pipe(Schema.check(Schema.isLessThan(1_000_000)))),
  attempt: Schema.optionalKey(NaturalText.pipe(Schema.check(Schema.isLessThan(1_000_000))))
}

export const ArtefactView = Schema.Struct({
  name: Schema.String,
  sizeBytes: Bytes,
  digest: Digest,
  /** Bytes that were made but not kept, past the limit. */
  droppedBytes: Bytes,
  attempt: Count,
  task: Schema.NullOr(Count)
})
export type ArtefactView = typeof ArtefactView.Type

const job = { jobId: Schema.String }
const bytes = HttpApiSchema.StreamUint8Array()

/**
 * What jobs say and make, as bytes.
 *
 * `output` and `artefact` answer what was kept, when it was kept. `logs` follows what is being said: a
 * stream of server-sent events. Each `output` event carries one piece as JSON, `{"text"}` where the piece
 * is whole UTF-8 and `{"base64"}` where it is not; no character is cut in two. Its id is
 * `<attempt>:<offset>`, the place behind the piece: sent back as `Last-Event-ID` (or `from`) it goes on
 * right there, on this or any other gateway. `attempt` says that another try begins at offset 0; `end`
 * says how the job (or the task) ended, and is the last.
 */
export class JobBytes extends HttpApiGroup.make("bytes")
  .add(
    HttpApiEndpoint.get("output", "/:jobId/output/:name", {
      params: { ...job, name: OutputName },
      query: { ...which, offset: Schema.optionalKey(NaturalText) },
      success: bytes,
      error: [NotFound, Forbidden, BadRequest, Unavailable]
    }),
    HttpApiEndpoint.get("logs", "/:jobId/logs", {
      params: job,
      query: {
        ...which,
        stream: Schema.optionalKey(OutputName),
        offset: Schema.optionalKey(NaturalText),
        /** `<attempt>:<offset>`, as the id of an event says; `Last-Event-ID` stands above it. */
        from: Schema.optionalKey(Schema.String),
        /** Without it what there is now, and no waiting. */
        follow: Schema.optionalKey(Schema.Literals(["true", "false", ""]))
      },
      headers: { "last-event-id": Schema.optionalKey(Schema.String) },
      success: HttpApiSchema.StreamUint8Array({ contentType: "text/event-stream" }),
      error: [NotFound, Forbidden, BadRequest, Unavailable]
    }),
    HttpApiEndpoint.get("artefacts", "/:jobId/artefacts", {
      params: job,
      query: { ...which, after: Schema.optionalKey(Schema.String), limit: Schema.optionalKey(NaturalText.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 1000 })))) },
      success: Schema.Struct({ artefacts: Schema.Array(ArtefactView) }),
      error: [NotFound, Forbidden, Unavailable]
    }),
    // A name that holds slashes is written with them encoded (%2F): it is one part of the path.
    HttpApiEndpoint.get("artefact", "/:jobId/artefacts/:name", {
      params: { ...job, name: Schema.String },
      query: { ...which, offset: Schema.optionalKey(NaturalText) },
      success: bytes,
      error: [NotFound, Forbidden, BadRequest, Unavailable]
    })
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1/jobs")
{}

/**
 * Bytes by their digest. What a workspace has put, or what its own jobs have made, it may read; a digest
 * alone opens nothing, and what others hold is not found.
 */
export class BlobBytes extends HttpApiGroup.make("blobs")
  .add(
    HttpApiEndpoint.put("put", "/", {
      query: { digest: Schema.optionalKey(Digest) },
      payload: bytes,
      success: Schema.Struct({ digest: Digest, sizeBytes: Bytes }),
      error: [BadRequest, Forbidden, Conflict, TooLarge, Unavailable]
    }),
    HttpApiEndpoint.get("get", "/:digest", {
      params: { digest: Schema.String },
      query: { offset: Schema.optionalKey(NaturalText) },
      success: bytes,
      error: [NotFound, Forbidden, BadRequest, Unavailable]
    })
  )
  .middleware(Metered)
  .middleware(Authentication)
  .middleware(Wellformed)
  .prefix("/v1/blobs")
{}
