import { refusalFields, Wellformed } from "@millrace/service"
import { Count, EpochMillis } from "@millrace/schemas"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"
import { Reads } from "./reads.ts"

export class EnrolmentRefused extends Schema.TaggedError<EnrolmentRefused>()("EnrolmentRefused", refusalFields, { httpApiStatus: 403 }) {}
export class EnrolmentUnclear extends Schema.TaggedError<EnrolmentUnclear>()("EnrolmentUnclear", refusalFields, { httpApiStatus: 503 }) {}

/** What a host is given. Of no use without the seed that never left it. */
export const Credentials = Schema.Struct({
  hostId: Schema.String,
  jwt: Schema.String,
  expiresAtMs: EpochMillis,
  inboxPrefix: Schema.String,
  apiPrefix: Schema.String,
  epoch: Count
})

const PublicKey = Schema.String.pipe(Schema.check(Schema.isPattern(/^U[A-Z2-7]{55}$/u)))

export class Hosts extends HttpApiGroup.make("hosts")
  .add(
    HttpApiEndpoint.post("enrol", "/enrol", {
      payload: Schema.Struct({ oneTimeKey: Schema.NonEmptyString, publicKey: PublicKey }),
      success: Credentials,
      error: [EnrolmentRefused, EnrolmentUnclear]
    }),
    HttpApiEndpoint.post("renew", "/renew", {
      payload: Schema.Struct({ publicKey: PublicKey, atMs: EpochMillis, signature: Schema.NonEmptyString }),
      success: Credentials,
      error: [EnrolmentRefused, EnrolmentUnclear]
    })
  )
  .middleware(Wellformed)
  .prefix("/v1/hosts")
{}

/** Where machines become hosts of the cell, and where people look who may do what. */
export class Api extends HttpApi.make("millrace-access").add(Hosts).add(Reads).annotateMerge(OpenApi.annotations({ title: "Millrace access", version: "1" })) {}
