import { Clock, Effect } from "effect"
import { HttpClient, HttpClientError, type HttpClientResponse } from "effect/http"
import { millis } from "./quantities.ts"

export interface Patience {
  /** How long an API that is away or overloaded is asked again, in ms. */
  readonly waitMsMax: number
  /** Told once when waiting begins. */
  readonly note?: (text: string) => void
}

/** How long a request may take until its answer begins, in ms: longer than the gateway itself waits for anything. */
const beginMsMax = 60_000
const usualMs = 10_000
const stepMs = { from: 200, most: 2_000 }

/** What `MILLRACE_PATIENCE` says, such as `30s`; 10 s without it. */
export const patienceMs = (): number => millis(process.env["MILLRACE_PATIENCE"] ?? "") ?? usualMs

/**
 * Asks again where the API does not answer, has no room (429) or lacks a part of the cell (502, 503). That is
 * safe for every request of this command: each carries an idempotency key, or says the same when it is said twice.
 */
export const patiently = ({ note, waitMsMax }: Patience) => (client: HttpClient.HttpClient): HttpClient.HttpClient =>
  HttpClient.transform(client, (answer, request) =>
    Effect.gen(function*() {
      const untilMs = (yield* Clock.currentTimeMillis) + waitMsMax
      let stepNowMs = stepMs.from
      let noted = false
      while (true) {
        const tried = yield* Effect.result(Effect.timeoutOrElse(answer, {
          duration: beginMsMax,
          orElse: () => Effect.fail(new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, description: `no answer within ${beginMsMax / 1000} s` }) }))
        }))
        const away = tried._tag === "Failure" ? (tried.failure.reason._tag === "TransportError" ? "does not answer" : undefined) : yield* lacking(tried.success)
        const nowMs = yield* Clock.currentTimeMillis
        const afterMs = Math.max(stepNowMs, tried._tag === "Success" ? retryAfterMs(tried.success) : 0)
        if (away === undefined || nowMs + afterMs > untilMs) return yield* Effect.fromResult(tried)
        if (!noted) note?.(`The API ${away}; asking again for up to ${Math.ceil((untilMs - nowMs) / 1000)} s.`)
        noted = true
        yield* Effect.sleep(afterMs)
        stepNowMs = Math.min(2 * stepNowMs, stepMs.most)
      }
    }))

/** What keeps the API from its answer and may be well in a moment. Undefined: this is its answer. */
const lacking = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string | undefined> => {
  if (response.status === 429) return Effect.succeed("is asked too often")
  if (response.status !== 502 && response.status !== 503) return Effect.succeed(undefined)
  return response.text.pipe(
    Effect.map((text) => {
      const { code, what } = saidIn(text)
      // Nobody has told the gateway where that service is: waiting changes nothing.
      return code === "not_mounted" ? undefined : `lacks a part of the cell (${what ?? response.status})`
    }),
    Effect.orElseSucceed(() => `answers ${response.status}`)
  )
}

const retryAfterMs = ({ headers }: HttpClientResponse.HttpClientResponse): number => {
  const seconds = Number(headers["retry-after"] ?? 0)
  return Number.isFinite(seconds) ? seconds * 1000 : 0
}

/** What an error of the API says, as far as the text is one. */
export const saidIn = (text: string): { readonly code?: string; readonly what?: string; readonly where?: string; readonly remedy?: string; readonly missing?: unknown } => {
  try {
    const said: unknown = JSON.parse(text)
    return typeof said === "object" && said !== null ? said : {}
  } catch {
    return {}
  }
}
