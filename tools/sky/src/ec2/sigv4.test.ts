import { assert, describe, it } from "vitest"
import type { Request } from "../cloud.ts"
import { verify } from "./sigv4.ts"

/** Keys, requests and signatures that the vendor publishes: the Signature Version 4 test suite, and its guide's ListUsers. */
const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" }
const atMs = Date.UTC(2015, 7, 30, 12, 36, 0)
const signed = (signature: string, { names = "host;x-amz-date", service = "service" } = {}) =>
  `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/${service}/aws4_request, SignedHeaders=${names}, Signature=${signature}`

const request = (method: string, url: string, headers: Readonly<Record<string, string>>): Request => ({
  method, url, path: new URL(url, "http://x").pathname, query: new URL(url, "http://x").searchParams, body: "", atMs,
  headers: { host: "example.amazonaws.com", "x-amz-date": "20150830T123600Z", ...headers }
})

const vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
const published: ReadonlyArray<readonly [string, Request, string]> = [
  ["get-vanilla", request("GET", "/", { authorization: signed(vanilla) }), "service"],
  ["post-vanilla", request("POST", "/", { authorization: signed("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b") }), "service"],
  ["get-vanilla-query-order-key-case", request("GET", "/?Param2=value2&Param1=value1", { authorization: signed("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500") }), "service"],
  ["ListUsers", request("GET", "/?Action=ListUsers&Version=2010-05-08", {
    host: "iam.amazonaws.com", "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    authorization: signed("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7", { names: "content-type;host;x-amz-date", service: "iam" })
  }), "iam"]
]
const published1 = published[0]![1]
const wrongOf = (changed: Partial<Request>, with_ = key) => {
  const verified = verify({ ...published1, ...changed }, with_, { service: "service" })
  return "wrong" in verified ? verified.wrong : verified.region
}

describe("what a signature says", () => {
  it.each(published)("the vendor's %s is right", (_, one, service) => {
    assert.deepStrictEqual(verify(one, key, { service }), { region: "us-east-1" })
  })

  it("anything else that is said under it is not", () => {
    assert.strictEqual(wrongOf({}), "us-east-1")
    assert.deepStrictEqual([
      wrongOf({ body: "Action=RunInstances" }),
      wrongOf({ method: "POST" }),
      wrongOf({ query: new URLSearchParams("a=b") }),
      wrongOf({ headers: { ...published1.headers, host: "elsewhere" } }),
      wrongOf({}, { ...key, secretAccessKey: "another" }),
      wrongOf({}, { ...key, accessKeyId: "AKIDOTHER" }),
      wrongOf({ headers: { ...published1.headers, authorization: published1.headers["authorization"]!.replace("us-east-1", "us-west-2") } })
    ], Array.from({ length: 7 }, () => "AuthFailure"))
  })

  it("it is of its quarter of an hour, whole, and covers what it should", () => {
    const { authorization: _, ...bare } = published1.headers
    assert.deepStrictEqual([
      wrongOf({ atMs: atMs + 16 * 60_000 }),
      wrongOf({ headers: bare }),
      wrongOf({ headers: { ...published1.headers, authorization: "Bearer key" } }),
      wrongOf({ headers: { ...published1.headers, "x-amz-security-token": "unsigned" } }),
      wrongOf({ headers: { ...published1.headers, "x-amz-date": "20150831T123600Z" } })
    ], ["RequestExpired", "MissingAuthenticationToken", "IncompleteSignature", "IncompleteSignature", "IncompleteSignature"])
  })
})
