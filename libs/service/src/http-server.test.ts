import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { freePort } from "@millrace/infra-ports"
import { httpServer } from "./http-server.ts"

const ask = (port: number) =>
  Effect.promise(async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5_000) })
    return { status: answer.status, again: answer.headers.get("retry-after"), body: await answer.text() }
  })

it.live("answers who asks before the routes stand that it is starting, and then with the routes", () => Effect.scoped(Effect.gen(function*() {
  const port = yield* freePort
  const early: Array<{ readonly status: number; readonly again: string | null; readonly body: string }> = []
  const routes = HttpRouter.add("GET", "/", HttpServerResponse.text("here"))
  const slow = Layer.effectDiscard(Effect.map(ask(port), (answer) => void early.push(answer)))
  yield* Layer.build(HttpRouter.serve(Layer.provide(routes, slow), { disableLogger: true }).pipe(Layer.provide(httpServer({ host: "127.0.0.1", port }))))
  assert.deepInclude(early[0], { status: 503, again: "1" })
  assert.deepInclude(JSON.parse(early[0]!.body) as object, { code: "starting_or_stopping" })
  assert.deepInclude(yield* ask(port), { status: 200, body: "here" })
})))

it.live("says which port is taken", () => Effect.scoped(Effect.gen(function*() {
  const port = yield* freePort
  const scope = yield* Scope.make()
  yield* Layer.buildWithScope(httpServer({ host: "127.0.0.1", port }), scope)
  const failure = yield* Effect.flip(Layer.build(httpServer({ host: "127.0.0.1", port })))
  assert.deepInclude(failure, { _tag: "ApiPortTaken", port, detail: "EADDRINUSE" })
  yield* Scope.close(scope, Exit.void)
})))
