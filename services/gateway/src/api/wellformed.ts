import { Effect, type Layer } from "effect"
import { HttpApiMiddleware } from "effect/http-api"
import { BadRequest } from "./errors.ts"

/** Turns what does not fit a schema into our own form of error, naming the field. */
export class Wellformed extends HttpApiMiddleware.Service<Wellformed>()("millrace/gateway/Wellformed", { error: BadRequest }) {}

/** Names the field that does not fit, in the form that every error has. */
export const WellformedLive: Layer.Layer<Wellformed> = HttpApiMiddleware.layerSchemaErrorTransform(Wellformed, (error) =>
  Effect.fail(new BadRequest({
    code: "request_malformed",
    what: error.cause.message.replaceAll("\n", " "),
    where: `the request's ${error.kind.toLowerCase()}`,
    remedy: "compare it with /openapi.json"
  })))
