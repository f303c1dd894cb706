import { assert, describe, it } from "@effect/vitest"
import { type Denied, refusalOf } from "./kubernetes.ts"

const denied = (status: number, message = "", more: Partial<Denied> = {}): Denied => ({ _tag: "Denied", status, reason: "Because", message, ...more })

describe("a denial of Kubernetes' API", () => {
  it("means to a broker what its status says", () => {
    const means = (one: Denied) => refusalOf(one, 1_000)
    for (const status of [400, 405, 413, 415, 422]) assert.deepInclude(means(denied(status)), { reason: "invalid", narrows: "type" })
    assert.deepInclude(means(denied(401)), { reason: "unauthorised", narrows: "provider" })
    assert.deepInclude(means(denied(403)), { reason: "unauthorised" })
    assert.deepInclude(means(denied(403, "pods is forbidden: exceeded quota: machines")), { reason: "quota" })
    assert.deepInclude(means(denied(404)), { reason: "offer_gone" })
    assert.deepInclude(means(denied(429, "", { retryAfterMs: 7_000 })), { reason: "rate_limited", untilMs: 8_000 })
    assert.deepInclude(means(denied(422, "name is too long")), { detail: "Because: name is too long" })
  })

  it("means nothing where only somebody else was quicker", () => {
    for (const status of [409, 410]) assert.isUndefined(refusalOf(denied(status), 0))
  })
})
