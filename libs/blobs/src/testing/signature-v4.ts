import { createHash, createHmac } from "node:crypto"

/** A request as it came over the wire: the path and query as they were sent, header names in lower case. */
export interface Signed {
  readonly method: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")
const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest()

/** URI encoding as the description has it: everything but letters, digits and `-._~`. */
const encoded = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/gu, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)

const canonicalQuery = (query: string) =>
  query.split("&").filter((pair) => pair !== "")
    .map((pair) => {
      const [name = "", ...value] = pair.split("=")
      return `${encoded(decodeURIComponent(name))}=${encoded(decodeURIComponent(value.join("=")))}`
    })
    .sort()
    .join("&")

const scheme = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([0-9]{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/u

/**
 * Whether a request to S3 carries a valid AWS Signature Version 4, written from the description alone:
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
export const isSigned = (
  { method, target, headers }: Signed,
  secretOf: (accessKeyId: string) => string | undefined
): boolean => {
  const [, accessKeyId = "", day = "", region = "", signedHeaders = "", signature] =
    scheme.exec(headers["authorization"] ?? "") ?? []
  const secret = secretOf(accessKeyId)
  if (secret === undefined || !signedHeaders.split(";").includes("host")) return false
  const [path = "/", query = ""] = target.split("?", 2)
  const canonical = [
    method,
    path.split("/").map((part) => encoded(decodeURIComponent(part))).join("/"),
    canonicalQuery(query),
    ...signedHeaders.split(";").map((name) => `${name}:${(headers[name] ?? "").trim().replace(/ +/gu, " ")}`),
    "",
    signedHeaders,
    headers["x-amz-content-sha256"] ?? ""
  ].join("\n")
  const scope = `${day}/${region}/s3/aws4_request`
  const toSign = ["AWS4-HMAC-SHA256", headers["x-amz-date"] ?? "", scope, sha256(canonical)].join("\n")
  const key = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${secret}`, day), region))
  return hmac(key, toSign).toString("hex") === signature
}
