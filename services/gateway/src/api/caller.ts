import { Principal, WorkspaceName } from "@millrace/schemas"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import { hash, timingSafeEqual } from "node:crypto"
import { Unauthorized } from "./errors.ts"

/** What a token's holder may do. */
export const Right = Schema.Literals(["read", "submit", "cancel"])
export type Right = typeof Right.Type

/** One token: who holds it, where it acts and what it may. Only its SHA-256 is kept. */
export const TokenRecord = Schema.Struct({
  digest: Schema.String.pipe(Schema.check(Schema.isPattern(/^[0-9a-f]{64}$/u))),
  principal: Principal,
  workspace: WorkspaceName,
  rights: Schema.Array(Right)
})
export type TokenRecord = typeof TokenRecord.Type

/** The file that holds the tokens' records. */
export const TokenFile = Schema.Struct({ tokens: Schema.Array(TokenRecord) })

/** Who calls, as the bearer token says. */
export class Caller extends Context.Service<Caller, Omit<TokenRecord, "digest">>()("millrace/gateway/Caller") {}

/** The tokens that this gateway takes. */
export class Tokens extends Context.Service<Tokens, ReadonlyArray<TokenRecord>>()("millrace/gateway/Tokens") {}

export class Authentication extends HttpApiMiddleware.Service<Authentication, { provides: Caller; requires: never }>()(
  "millrace/gateway/Authentication",
  { requiredForClient: true, security: { bearer: HttpApiSecurity.bearer }, error: Unauthorized }
) {
  static readonly layer: Layer.Layer<Authentication, never, Tokens> = Layer.effect(Authentication, Effect.map(Tokens, (tokens) =>
    Authentication.of({
      bearer: (httpEffect, { credential }) => {
        const record = find(tokens, Redacted.value(credential))
        return record === undefined ? Effect.fail(unknownToken) : Effect.provideService(httpEffect, Caller, record)
      }
    })))
}

export const digestOfToken = (token: string): string => hash("sha256", token, "hex")

const find = (tokens: ReadonlyArray<TokenRecord>, token: string): TokenRecord | undefined => {
  const digest = Buffer.from(digestOfToken(token), "hex")
  return tokens.find((record) => timingSafeEqual(Buffer.from(record.digest, "hex"), digest))
}

const unknownToken = new Unauthorized({
  code: "token_unknown",
  what: "the bearer token is missing or not known here",
  where: "the Authorization header",
  remedy: "send the token that npm start wrote down, as: Authorization: Bearer <token>"
})
