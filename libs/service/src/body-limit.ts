import { ByteSize, Effect } from "effect"
import { HttpIncomingMessage, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"

/** A request as far as its bound depends on it. */
export interface Bounded {
  readonly method: string
  /** Path and query. */
  readonly url: string
}

/**
 * Bounds the bodies of all requests to so many bytes: what says that it is larger is not read at all (413,
 * `body_too_large`), and what turns out larger is read no further. Without it whoever may reach a port fills the
 * memory of its process, whether anybody knows them or not. Requests that are `free` bound themselves.
 */
export const bodyLimit = ({ bytesMax, free = () => false, remedy }: {
  readonly bytesMax: number
  readonly free?: (request: Bounded) => boolean
  /** What whoever sent too much can do instead. */
  readonly remedy: string
}) => {
  const tooLarge = HttpServerResponse.jsonUnsafe({
    _tag: "TooLarge",
    code: "body_too_large",
    what: `the body is larger than ${bytesMax} bytes`,
    where: "the request's body",
    remedy
  }, { status: 413, headers: { connection: "close" } })
  return HttpRouter.middleware((app) =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      if (free(request)) return yield* app
      if (Number(request.headers["content-length"] ?? 0) > bytesMax) return tooLarge
      return yield* Effect.provideService(app, HttpIncomingMessage.MaxBodySize, ByteSize.bytes(bytesMax))
    }), { global: true })
}
