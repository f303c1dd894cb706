import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { batchMax, dataCharsMax, eventsIn } from "./cloud-event.ts"

const structured = { "content-type": "application/cloudevents+json; charset=utf-8" }
const event = { specversion: "1.0", id: "7", source: "/git/acme", type: "push", subject: "main", time: "2026-03-01T12:00:00Z", data: { ref: "refs/heads/main" } }
const read = { id: "7", source: "/git/acme", type: "push", subject: "main", timeAtMs: Date.parse(event.time), data: "{\"ref\":\"refs/heads/main\"}" }
const trouble = (result: ReturnType<typeof eventsIn>) => Result.isFailure(result) ? `${result.failure.where}: ${result.failure.what}` : "it was read"

describe("CloudEvents over HTTP", () => {
  it("are read in each of the three modes to the same event", () => {
    assert.deepStrictEqual(Result.getOrThrow(eventsIn(structured, JSON.stringify(event))), [read])
    assert.deepStrictEqual(Result.getOrThrow(eventsIn({ "content-type": "application/cloudevents-batch+json" }, JSON.stringify([event, event]))), [read, read])
    const headers = Object.fromEntries(Object.entries(event).flatMap(([name, value]) => (name === "data" ? [] : [[`ce-${name}`, encodeURIComponent(String(value))]])))
    assert.deepStrictEqual(Result.getOrThrow(eventsIn({ ...headers, "content-type": "application/json" }, JSON.stringify(event.data))), [read])
  })

  it("data that is no JSON is kept as text", () => {
    const headers = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t", "content-type": "text/plain" }
    assert.deepStrictEqual(Result.getOrThrow(eventsIn(headers, "two words")), [{ id: "1", source: "s", type: "t", data: "\"two words\"" }])
    assert.deepStrictEqual(Result.getOrThrow(eventsIn(headers, "")), [{ id: "1", source: "s", type: "t" }])
  })

  it("what is none is refused, naming the field", () => {
    const without = (change: object) => trouble(eventsIn(structured, JSON.stringify({ ...event, ...change })))
    assert.include(without({ id: "" }), "id:")
    assert.include(without({ id: "a\u0000b" }), "id:")
    assert.include(without({ source: undefined }), "source:")
    assert.include(without({ source: "/git acme" }), "source:", "source and id are one name, apart by a space")
    assert.include(without({ type: 7 }), "type:")
    assert.include(without({ specversion: "0.3" }), "specversion:")
    assert.include(without({ time: "yesterday" }), "time:")
    assert.include(without({ data: "x".repeat(dataCharsMax) }), "data:")
    assert.include(trouble(eventsIn(structured, "{")), "no JSON")
    assert.include(trouble(eventsIn({}, "{}")), "no CloudEvent")
    assert.include(trouble(eventsIn({ "content-type": "application/cloudevents-batch+json" }, JSON.stringify(Array(batchMax + 1).fill(event)))), "the most")
  })
})
