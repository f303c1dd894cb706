import { Api, Authentication } from "@millrace/gateway/api"
import { Effect, Layer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient, HttpApiMiddleware } from "effect/http-api"
import { type Patience, patiently } from "./patience.ts"

/** Where the API is, and the token that opens it. */
export interface Door {
  readonly url: string
  readonly token: string
}

/** The door's HTTP, with as much patience as is asked for: none, unless told. */
export const httpOf = (patience: Patience = { waitMsMax: 0 }): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, patiently(patience))).pipe(Layer.provide(FetchHttpClient.layer))

/** A client of the gateway's API, with the caller's token on every request. */
export const apiClient = ({ token, url }: Door, patience?: Patience) =>
  HttpApiClient.make(Api, { baseUrl: url }).pipe(
    Effect.provide(HttpApiMiddleware.layerClient(Authentication, ({ next, request }) => next(HttpClientRequest.bearerToken(request, token)))),
    Effect.provide(httpOf(patience))
  )

export type ApiClient = Effect.Success<ReturnType<typeof apiClient>>
