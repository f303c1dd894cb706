import { Effect } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { randomUUID } from "node:crypto"
import { type ApiClient, apiClient, type Door, httpOf } from "./client.ts"
import { type Patience, saidIn } from "./patience.ts"
import { endingOf, Trouble, troubleOf } from "./trouble.ts"

export interface Sending {
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** An idempotency key; one of its own is made where none is given. */
  readonly key?: string | undefined
  /** application/json, unless told. */
  readonly contentType?: string
}

/**
 * Everything that a cell answers at its one address: the gateway's own API, and the reads of other services that
 * are mounted there. Those are read tolerantly: a field that is new stays, one that is missing is shown as such.
 */
export interface Origin {
  readonly url: string
  readonly client: ApiClient
  readonly get: <A>(path: string, query?: Readonly<Record<string, string>>) => Effect.Effect<A, Trouble>
  readonly send: <A>(method: "POST" | "PUT" | "DELETE", path: string, sending?: Sending) => Effect.Effect<A, Trouble>
}

export const originOf = Effect.fnUntraced(function*(door: Door, patience: Patience): Effect.fn.Return<Origin> {
  const { url } = door
  const http = yield* Effect.provide(HttpClient.HttpClient, httpOf(patience))
  const asked = <A>(request: HttpClientRequest.HttpClientRequest): Effect.Effect<A, Trouble> =>
    http.execute(HttpClientRequest.bearerToken(request, door.token)).pipe(
      Effect.flatMap((response) => Effect.flatMap(response.text, (text) => answerOf<A>(url, response, text))),
      Effect.mapError((error) => troubleOf(error, { url }) ?? strange(url, String(error)))
    )
  return {
    url,
    client: yield* apiClient(door, patience),
    get: (path, query = {}) => asked(HttpClientRequest.get(`${url}${path}`, { urlParams: query, acceptJson: true })),
    send: (method, path, { body, contentType = "application/json", key = randomUUID(), query = {} } = {}) => {
      const request = HttpClientRequest.make(method)(`${url}${path}`, { urlParams: query, acceptJson: true, headers: { "idempotency-key": key } })
      return asked(body === undefined ? request : HttpClientRequest.bodyText(request, JSON.stringify(body), contentType))
    }
  }
})

const answerOf = <A>(url: string, { status }: HttpClientResponse.HttpClientResponse, text: string): Effect.Effect<A, Trouble> => {
  if (status >= 200 && status < 300) {
    return Effect.try({ try: () => JSON.parse(text === "" ? "{}" : text) as A, catch: () => strange(url, "it is no JSON") })
  }
  const { code, missing, remedy, what, where } = saidIn(text)
  return Effect.fail(
    code === undefined || what === undefined || remedy === undefined
      ? strange(url, `it answers ${status}`)
      : new Trouble({ code, what, where: where ?? "", remedy, ending: endingOf(status), ...(missing === undefined ? {} : { missing }) })
  )
}

const strange = (url: string, why: string): Trouble =>
  new Trouble({ code: "api_strange", what: `the answer is not one of Millrace's API: ${why}`, where: url, remedy: "check --url; the command and the cell may be of different versions", ending: "unavailable" })
