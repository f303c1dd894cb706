import { ByteSize, Effect } from "effect"
import { HttpIncomingMessage, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { bodyBytesMax } from "./api.ts"

/** Bodies are small but for blobs, which bound themselves: what says that it is larger is not read at all. */
export const bodyLimit = HttpRouter.middleware((app) =>
  Effect.gen(function*() {
    const { headers, method, url } = yield* HttpServerRequest.HttpServerRequest
    if (method === "PUT" && url.startsWith("/v1/blobs")) return yield* app
    if (Number(headers["content-length"] ?? 0) > bodyBytesMax) return tooLarge
    return yield* Effect.provideService(app, HttpIncomingMessage.MaxBodySize, ByteSize.bytes(bodyBytesMax))
  }), { global: true })

const tooLarge = HttpServerResponse.jsonUnsafe({
  _tag: "TooLarge",
  code: "body_too_large",
  what: `the body is larger than ${bodyBytesMax} bytes`,
  where: "the request's body",
  remedy: "put large things as blobs (PUT /v1/blobs), and name their digests"
}, { status: 413, headers: { connection: "close" } })
