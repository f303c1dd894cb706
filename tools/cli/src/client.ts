import { Api, Authentication } from "@millrace/gateway/api"
import { Effect } from "effect"
import { FetchHttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient, HttpApiMiddleware } from "effect/http-api"

/** Where the API is, and the token that opens it. */
export interface Door {
  readonly url: string
  readonly token: string
}

/** A client of the gateway's API, with the caller's token on every request. */
export const apiClient = ({ token, url }: Door) =>
  HttpApiClient.make(Api, { baseUrl: url }).pipe(
    Effect.provide(HttpApiMiddleware.layerClient(Authentication, ({ next, request }) => next(HttpClientRequest.bearerToken(request, token)))),
    Effect.provide(FetchHttpClient.layer)
  )

export type ApiClient = Effect.Success<ReturnType<typeof apiClient>>
