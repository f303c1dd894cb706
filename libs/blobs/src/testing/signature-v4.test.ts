import { assert, describe, it } from "@effect/vitest"
import { isSigned, type Signed } from "./signature-v4.ts"

const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
const secretOf = (id: string) => id === "AKIAIOSFODNN7EXAMPLE" ? "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" : undefined

const example = (
  { method, target, signed, signature, ...headers }: Record<string, string> & {
    method: string
    target: string
    signed: string
    signature: string
  }
): Signed => ({
  method,
  target,
  headers: {
    host: "examplebucket.s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-content-sha256": empty,
    ...headers,
    authorization: "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
      `SignedHeaders=${signed},Signature=${signature}`
  }
})

// The worked examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const examples = {
  "GET object": example({
    method: "GET",
    target: "/test.txt",
    range: "bytes=0-9",
    signed: "host;range;x-amz-content-sha256;x-amz-date",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
  }),
  "PUT object": example({
    method: "PUT",
    target: "/test%24file.text",
    date: "Fri, 24 May 2013 00:00:00 GMT",
    "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    signed: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
  }),
  "GET bucket lifecycle": example({
    method: "GET",
    target: "/?lifecycle",
    signed: "host;x-amz-content-sha256;x-amz-date",
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
  }),
  "list objects": example({
    method: "GET",
    target: "/?max-keys=2&prefix=J",
    signed: "host;x-amz-content-sha256;x-amz-date",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
  })
}

describe("Signature V4 of the test's S3", () => {
  for (const [name, request] of Object.entries(examples)) {
    it(`accepts the published example: ${name}`, () => assert.isTrue(isSigned(request, secretOf)))

    it(`refuses it with another method, target, header or secret: ${name}`, () => {
      assert.isFalse(isSigned({ ...request, method: "DELETE" }, secretOf))
      assert.isFalse(isSigned({ ...request, target: `${request.target}x` }, secretOf))
      const headers = { ...request.headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }
      assert.isFalse(isSigned({ ...request, headers }, secretOf))
      assert.isFalse(isSigned(request, () => "another secret"))
    })
  }
})
