import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import type { Request } from "../cloud.ts"

/** Whose requests are taken. */
export interface AwsKey {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Of temporary credentials: sent with each request, and signed. */
  readonly sessionToken?: string
}

export type Verified =
  | { readonly region: string }
  | { readonly wrong: "MissingAuthenticationToken" | "IncompleteSignature" | "AuthFailure" | "RequestExpired"; readonly detail: string }

const hex = (text: string): string => createHash("sha256").update(text).digest("hex")
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest()

/** "Requests must reach AWS within fifteen minutes of the time stamp." */
const quarterHourMs = 15 * 60_000

/** RFC 3986: everything but unreserved characters, as the description asks for in names and values. */
const encoded = (text: string): string => encodeURIComponent(text).replace(/[!'()*]/gu, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)

const canonicalQuery = (query: URLSearchParams): string =>
  [...query].map(([name, value]) => [encoded(name), encoded(value)] as const)
    .sort(([a, av], [b, bv]) => (a < b || (a === b && av < bv) ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`).join("&")

const msOf = (stamp: string): number => {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/u.exec(stamp) ?? []
  return y === undefined ? Number.NaN : Date.UTC(Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s))
}

/** What is signed: which headers, for where, and when. */
export interface Signed {
  /** Names of headers, sorted, between semicolons. */
  readonly names: string
  /** As in `X-Amz-Date`. */
  readonly stamp: string
  readonly region: string
  readonly service: string
}

/** The signature of a request: its canonical form, the string to sign, and the key derived from day, region and service. */
export const signatureOf = ({ body, headers, method, path, query }: Request, { names, region, service, stamp }: Signed, secret: string): string => {
  const day = stamp.slice(0, 8)
  const canonical = [
    method,
    path.split("/").map((part) => encoded(decodeURIComponent(part))).join("/"),
    canonicalQuery(query),
    ...names.split(";").map((name) => `${name}:${(headers[name] ?? "").trim().replace(/\s+/gu, " ")}`),
    "",
    names,
    hex(body)
  ].join("\n")
  const derived = hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), service), "aws4_request")
  return hmac(derived, ["AWS4-HMAC-SHA256", stamp, `${day}/${region}/${service}/aws4_request`, hex(canonical)].join("\n")).toString("hex")
}

const form = /^AWS4-HMAC-SHA256 Credential=([^/,]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request,\s*SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})$/u

/**
 * Whether a request is signed by that key, as "AWS Signature Version 4 for API requests" of the IAM user guide
 * describes it, and for which region. `host` and every `x-amz-` header have to be signed.
 */
export const verify = (request: Request, key: AwsKey, { service, skewMsMax = quarterHourMs }: { readonly service: string; readonly skewMsMax?: number }): Verified => {
  const { headers } = request
  const authorization = headers["authorization"]
  if (authorization === undefined) return { wrong: "MissingAuthenticationToken", detail: "Request is missing Authentication Token" }
  const [, id = "", day = "", region = "", scoped = "", names = "", given = ""] = form.exec(authorization) ?? []
  if (id === "") return { wrong: "IncompleteSignature", detail: "Authorization header does not have the parts that Signature Version 4 wants." }
  const stamp = headers["x-amz-date"] ?? ""
  const atMs = msOf(stamp)
  if (stamp.slice(0, 8) !== day || Number.isNaN(atMs)) return { wrong: "IncompleteSignature", detail: "The date of the credential scope is not that of X-Amz-Date." }
  const signed = names.split(";")
  const missing = ["host", ...Object.keys(headers).filter((name) => name.startsWith("x-amz-"))].find((name) => !signed.includes(name))
  if (missing !== undefined || [...signed].sort().join(";") !== names) return { wrong: "IncompleteSignature", detail: `${missing ?? "the list of signed headers"} must be signed, in order.` }
  if (Math.abs(request.atMs - atMs) > skewMsMax) return { wrong: "RequestExpired", detail: "Request has expired." }
  const expected = signatureOf(request, { names, stamp, region, service }, key.secretAccessKey)
  const right = id === key.accessKeyId && scoped === service && (headers["x-amz-security-token"] ?? "") === (key.sessionToken ?? "") && timingSafeEqual(Buffer.from(expected), Buffer.from(given))
  return right ? { region } : { wrong: "AuthFailure", detail: "AWS was not able to validate the provided access credentials" }
}
