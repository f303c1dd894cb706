import { type Ask, type ActionName, authenticate, narrowed, type Needs, type Speaker, type View } from "@millrace/authority"
import { type Action, type AttemptId, type Constraints, type Digest, type GrantId, type JobId, type Resource, Warrant } from "@millrace/schemas"
import { Clock, Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import { HttpApiMiddleware, HttpApiSecurity } from "effect/http-api"
import { hash } from "node:crypto"
import { Authority, type AuthorityShape } from "./authority.ts"
import { canonical, WarrantVerifier } from "./warrant.ts"

/** Nobody we know speaks. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {
  code: Schema.NonEmptyString,
  what: Schema.NonEmptyString,
  where: Schema.String,
  remedy: Schema.NonEmptyString
}, { httpApiStatus: 401 }) {}

/** Who calls, as the bearer token or the warrant says. */
export class Caller extends Context.Service<Caller, Speaker & {
  /** The caller is a program in a sandbox, on whose behalf its host shows the attempt's warrant. */
  readonly warrant?: Warrant
  /** The attempt that the program runs in. */
  readonly parent?: { readonly jobId: JobId; readonly attemptId: AttemptId }
  /** What the warrant limits, as far as it was narrowed by now. */
  readonly constraints?: Constraints
  /** The digest of the bearer token that was shown. */
  readonly token?: Digest
}>()("millrace/Caller") {}

/**
 * Knows callers by `Authorization: Bearer <token>` or `Authorization: Warrant <text of warrantBearer>`. A
 * token that was issued a moment ago is known: before a no, the view is brought up to date.
 */
export class Authentication extends HttpApiMiddleware.Service<Authentication, { provides: Caller; requires: never }>()(
  "millrace/Authentication",
  {
    requiredForClient: true,
    security: { bearer: HttpApiSecurity.bearer, warrant: HttpApiSecurity.http({ scheme: "Warrant" }) },
    error: Unauthorized
  }
) {
  static readonly layer: Layer.Layer<Authentication, never, Authority | WarrantVerifier> = Layer.effect(Authentication, Effect.gen(function*() {
    const authority = yield* Authority
    const verifier = yield* WarrantVerifier
    return Authentication.of({
      bearer: (httpEffect, { credential }) =>
        Effect.flatMap(speakerOf(authority, Redacted.value(credential)), (caller) => Effect.provideService(httpEffect, Caller, caller)),
      warrant: (httpEffect, { credential }) =>
        Effect.flatMap(holderOf(authority, verifier, Redacted.value(credential)), (caller) => Effect.provideService(httpEffect, Caller, caller))
    })
  }))
}

/** Who speaks by an `Authorization` header, known as `Authentication` knows callers: for routes that lie outside an API. */
export const callerBy = (header: string): Effect.Effect<Caller["Service"], Unauthorized, Authority | WarrantVerifier> =>
  Effect.gen(function*() {
    const [, scheme = "", credential = ""] = /^(bearer|warrant) +(\S+)$/iu.exec(header) ?? []
    const authority = yield* Authority
    return scheme.toLowerCase() === "warrant" ? yield* holderOf(authority, yield* WarrantVerifier, credential) : yield* speakerOf(authority, credential)
  })

/** The form in which the log knows a bearer token. */
export const digestOfToken = (token: string): Digest => `sha256:${hash("sha256", token, "hex")}` as Digest

/** What a host puts behind `Authorization: Warrant `: the warrant's canonical form in base64url, a dot, its signature. */
export const warrantBearer = (warrant: Warrant, signature: string): string => `${Buffer.from(canonical(warrant)).toString("base64url")}.${signature}`

/** What a caller asks, in the form that gates decide: under the token's grant, or another one that the caller names. */
export const askOf = (
  caller: Caller["Service"],
  asked: { readonly action: ActionName | Action; readonly resource: Resource; readonly grant?: GrantId; readonly needs?: Needs }
): Ask => {
  const grant = asked.grant ?? caller.grant
  return {
    principal: caller.principal,
    workspace: caller.workspace,
    action: asked.action,
    resource: asked.resource,
    ...(grant === undefined ? {} : { grant }),
    ...(asked.needs === undefined ? {} : { needs: asked.needs }),
    ...(caller.grant === undefined ? {} : { bound: caller.grant }),
    ...(caller.warrant === undefined ? {} : { warrant: caller.constraints === undefined ? {} : { constraints: caller.constraints } })
  }
}

/** A token is random text of at most this many characters; longer ones are not looked at. */
const tokenCharsMax = 512
const warrantCharsMax = 16_384
const catchUpMsMax = 1_000

const speakerOf = Effect.fnUntraced(function*(authority: AuthorityShape, token: string) {
  if (token === "" || token.length > tokenCharsMax) return yield* Effect.fail(unknownToken)
  const digest = digestOfToken(token)
  const look = Effect.map(Clock.currentTimeMillis, (atMs) => authenticate(authority.view, digest, atMs))
  const found = (yield* look) ?? (yield* Effect.andThen(authority.catchUp(catchUpMsMax), look))
  return found === undefined ? yield* Effect.fail(unknownToken) : { ...found, token: digest }
})

/** Whether what a caller showed speaks for somebody still: its token, or its warrant. A caller who showed neither was not asked. */
export const speaks = (view: View, { token, warrant }: Caller["Service"], atMs: number): boolean => {
  if (token !== undefined) return authenticate(view, token, atMs) !== undefined
  const change = warrant === undefined ? undefined : view.warrants.get(warrant.warrantId)
  return change?.revoked !== true && atMs < Math.min(warrant?.expiresAtMs ?? Number.POSITIVE_INFINITY, change?.expiresAtMs ?? Number.POSITIVE_INFINITY)
}

const Bearer = Schema.fromJsonString(Schema.Unknown)
const decodeWarrant = Schema.decodeUnknownOption(Warrant)
const decodeBearer = Schema.decodeUnknownOption(Bearer)

const holderOf = Effect.fnUntraced(function*({ view }: AuthorityShape, verifier: WarrantVerifier["Service"], text: string): Effect.fn.Return<Caller["Service"], Unauthorized> {
  if (text === "" || text.length > warrantCharsMax) return yield* Effect.fail(unknownToken)
  const [body = "", signature = ""] = text.split(".")
  const said = decodeBearer(Buffer.from(body, "base64url").toString("utf8"))
  const decoded = Option.flatMap(said, decodeWarrant)
  if (Option.isNone(said) || Option.isNone(decoded)) return yield* Effect.fail(warrantRefused("is not one that can be read"))
  // The signature is over all that was said, also over what this program does not know yet.
  yield* Effect.mapError(verifier.verify(said.value as Warrant, signature), () => warrantRefused("does not bear this cell's signature"))
  const warrant = decoded.value
  const atMs = yield* Clock.currentTimeMillis
  const change = view.warrants.get(warrant.warrantId)
  if (change?.revoked === true) return yield* Effect.fail(warrantRefused("was revoked"))
  if (atMs >= Math.min(warrant.expiresAtMs, change?.expiresAtMs ?? Number.POSITIVE_INFINITY)) return yield* Effect.fail(warrantRefused("is over"))
  if (warrant.holder === undefined || warrant.workspace === undefined) return yield* Effect.fail(warrantRefused("speaks for nobody"))
  const grant = warrant.grantPath.at(-1)
  return {
    principal: warrant.holder,
    workspace: warrant.workspace,
    warrant,
    constraints: narrowed(warrant.constraints ?? {}, change?.constraints ?? {}),
    ...(grant === undefined ? {} : { grant }),
    ...(warrant.attemptId === undefined ? {} : { parent: { jobId: warrant.jobId, attemptId: warrant.attemptId } })
  }
})

const unknownToken = new Unauthorized({
  code: "token_unknown",
  what: "the bearer token is missing, unknown, over or revoked",
  where: "the Authorization header",
  remedy: "send a token that holds, as: Authorization: Bearer <token>; npm start says where the owner's lies"
})

const warrantRefused = (what: string) =>
  new Unauthorized({
    code: "warrant_refused",
    what: `the warrant ${what}`,
    where: "the Authorization header",
    remedy: "let the host's local socket speak for the program: it shows the attempt's own warrant"
  })
