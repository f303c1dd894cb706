import { assert, describe, it } from "@effect/vitest"
import { reach } from "./reach.ts"

const job = `job_${"0".repeat(26)}`
const grant = `grt_${"0".repeat(26)}`
const digest = `sha256:${"a".repeat(64)}`

describe("what a program may ask for", () => {
  it("its own business: jobs, their bytes, blobs, and what it hands on", () => {
    for (const [method, target] of [
      ["POST", "/v1/jobs"], ["GET", "/v1/jobs?limit=3&state=running"], ["GET", `/v1/jobs/${job}`], ["GET", "/v1/jobs/a-name"], ["GET", `/v1/jobs/${job}/logs?follow=true`],
      ["GET", `/v1/jobs/${job}/output/stdout`], ["GET", `/v1/jobs/${job}/artefacts/a/b%20c.txt`], ["POST", `/v1/jobs/${job}/cancel`],
      ["PUT", `/v1/blobs?digest=${digest}`], ["GET", `/v1/blobs/${digest}`], ["GET", "/v1/grants"], ["POST", `/v1/grants/${grant}/delegate`], ["POST", "/v1/events"]
    ] as const) assert.isTrue(reach(method, target).allowed, `${method} ${target}`)
  })

  it("nothing else: no issuing, no keys, no hosts, no other method", () => {
    for (const [method, target] of [
      ["POST", "/v1/grants"], ["POST", "/v1/credentials"], ["POST", "/v1/roles"], ["GET", "/v1/hosts"], ["DELETE", `/v1/jobs/${job}`], ["PUT", "/v1/jobs"],
      ["GET", "/v1/wire/host"], ["POST", "/v1/hosts/enrolments"], ["GET", "/"], ["GET", "/v1/jobs/"], ["CONNECT", "/v1/jobs"], ["GET", "/V1/jobs"], ["GET", "/v1/blobs"]
    ] as const) assert.deepStrictEqual(reach(method, target), { allowed: false, code: "not_reachable" }, `${method} ${target}`)
  })

  it("no path that somebody behind could read otherwise", () => {
    for (const target of [
      "http://elsewhere/v1/jobs", "//elsewhere/v1/jobs", "/v1//jobs", "/v1/jobs/../hosts", "/v1/jobs/%2e%2e/hosts", `/v1/jobs/${job}/artefacts/%2e%2e/%2e%2e/x`,
      `/v1/jobs/${job}/artefacts/a/..`, `/v1/jobs/${job}/output/..%2f..%2fhosts`, "/v1/jobs\\..\\hosts", "/v1/jobs#x", "/v1/jobs/a%", "/v1/jobs/a%00b", "/v1/jobs/a\r\nHost: x", "*", "", "v1/jobs",
      `/v1/jobs?${"x".repeat(5000)}`, "/v1/jobs/\u00e9"
    ]) assert.deepStrictEqual(reach("GET", target), { allowed: false, code: "path_malformed" }, target.slice(0, 80))
  })
})
