import { Effect, Layer } from "effect"
import { HttpApiMiddleware } from "effect/http-api"
import { BadRequest } from "./refusals.ts"

/** Turns what does not fit an API's schemas into the form that every error has, naming the field: 400, `request_malformed`. */
export class Wellformed extends HttpApiMiddleware.Service<Wellformed>()("millrace/Wellformed", { error: BadRequest }) {
  static readonly layer: Layer.Layer<Wellformed> = HttpApiMiddleware.layerSchemaErrorTransform(this, (error) =>
    Effect.fail(new BadRequest({
      code: "request_malformed",
      what: error.cause.message.replaceAll("\n", " "),
      where: `the request's ${error.kind.toLowerCase()}`,
      remedy: "compare it with /openapi.json"
    })))
}
