import { Option, Schema } from "effect"
import { createHmac, timingSafeEqual } from "node:crypto"

/** How far the time in a signature may lie from ours, in ms. */
export const signedMsMax = 300_000

/** Why a signed request is not believed. */
export class SignatureRefused extends Schema.TaggedError<SignatureRefused>()("SignatureRefused", { why: Schema.String }) {}

/**
 * Whether a request was signed with the hook's secret, lately: HMAC-SHA256 over `<id>.<seconds>.<body>` in
 * base64, in `webhook-signature` as `v1,<signature>`, several of them apart by spaces.
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export const verifySignature = (
  secret: Uint8Array,
  headers: Readonly<Record<string, string | undefined>>,
  body: Uint8Array,
  nowMs: number
): Option.Option<SignatureRefused> => {
  const refused = (why: string) => Option.some(new SignatureRefused({ why }))
  const [id, seconds, signatures] = [headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"]]
  if (id === undefined || seconds === undefined || signatures === undefined) return refused("the headers webhook-id, webhook-timestamp and webhook-signature are not all there")
  if (!/^[0-9]{1,12}$/u.test(seconds)) return refused("webhook-timestamp is no number of seconds since 1970")
  if (Math.abs(Number(seconds) * 1000 - nowMs) > signedMsMax) return refused(`it was signed more than ${signedMsMax / 60_000} minutes from now`)
  const wanted = createHmac("sha256", secret).update(`${id}.${seconds}.`).update(body).digest()
  const holds = signatures.split(" ").slice(0, 8).some((entry) => {
    const [version, signature = ""] = entry.split(",")
    const given = Buffer.from(signature, "base64")
    return version === "v1" && given.length === wanted.length && timingSafeEqual(given, wanted)
  })
  return holds ? Option.none() : refused("there is no such hook, or no signature in webhook-signature is right")
}

/** The text form of a secret, as senders of Standard Webhooks take it, and back. */
export const secretText = (secret: Uint8Array): string => `whsec_${Buffer.from(secret).toString("base64")}`
export const secretFrom = (text: string): Uint8Array => Buffer.from(text.replace(/^whsec_/u, ""), "base64")
