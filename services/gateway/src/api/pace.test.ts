import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { ask, assertRefused, Gateway } from "../testing/api-cell.ts"

// Four requests, and hardly ever another one.
layer(Gateway.layerAt({ perSecond: 0.000_001, burst: 4 }), { timeout: "60 seconds", excludeTestServices: true })("a workspace that asks too often", (it) => {
  it.effect("is turned away at every door alike, and takes nothing from others", () => Effect.gen(function*() {
    const doors = ["/v1/jobs", "/v1/usage", `/v1/blobs/sha256:${"0".repeat(64)}`, `/v1/jobs/job_${"0".repeat(26)}/output/stdout`]
    for (const door of doors) assert.notStrictEqual((yield* ask("GET", door)).status, 429, door)
    for (const door of doors) {
      const answer = yield* ask("GET", door)
      assertRefused(answer, 429, "too_many_requests")
      assert.match(answer.headers.get("retry-after") ?? "", /^[0-9]+$/u)
    }
    assert.strictEqual((yield* ask("GET", "/v1/usage", { token: "stranger" })).status, 200)
  }))
})
