import { Blobs } from "@millrace/blobs"
import { Database } from "@millrace/readmodel"
import { cellKey, keyringInFolder, logConfig, logLayer, service, setting } from "@millrace/service"
import { privateKeyFrom } from "@millrace/wire"
import { Config, Effect, Layer, Schema } from "effect"
import { readFile } from "node:fs/promises"
import { TokenFile, Tokens } from "./api/caller.ts"
import { GatewayService } from "./service.ts"

const decodeTokens = Schema.decodeUnknownEffect(Schema.fromJsonString(TokenFile))

/** The tokens' records cannot be read, so nobody could be let in. */
export class TokensUnreadable extends Schema.TaggedError<TokensUnreadable>()("TokensUnreadable", { path: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The tokens in ${this.path} cannot be read: ${this.detail}. Point MILLRACE_TOKENS at the file that npm start wrote`
  }
}

const tokensLayer = (path: string): Layer.Layer<Tokens, TokensUnreadable> =>
  Layer.effect(Tokens, Effect.tryPromise(() => readFile(path, "utf8")).pipe(
    Effect.flatMap(decodeTokens),
    Effect.map(({ tokens }) => tokens),
    Effect.mapError((error) => new TokensUnreadable({ path, detail: error.message }))
  ))

/** The gateway as a process: its settings, and what it stands on. */
export const gatewayProcess = service({
  name: "gateway",
  config: Config.all({
    log: logConfig,
    host: setting("MILLRACE_API_HOST", { purpose: "where the API listens", wants: "an address of this machine", read: Config.NonEmptyString, default: "127.0.0.1" }),
    port: setting("MILLRACE_API_PORT", { purpose: "the API's port", wants: "a port number from 1 to 65535", read: Config.Port, default: 8080 }),
    database: setting("MILLRACE_DATABASE_URL", { purpose: "where the gateway's tables are", wants: "postgres://user:password@host:port/name", read: Config.Redacted }),
    tokens: setting("MILLRACE_TOKENS", { purpose: "the file of tokens' digests, holders and rights", wants: "a path", read: Config.NonEmptyString }),
    keys: setting("MILLRACE_KEYS", { purpose: "the folder of the workspaces' keys", wants: "a path", read: Config.NonEmptyString }),
    blobs: setting("MILLRACE_BLOBS", { purpose: "the folder that holds blobs", wants: "a path", read: Config.NonEmptyString }),
    sessionKey: setting("MILLRACE_SESSION_KEY", { purpose: "the key that signs sessions with hosts, made there if it is missing; without it no relay is served", wants: "a path", read: Config.NonEmptyString, default: undefined })
  }),
  layer: ({ blobs, database, host, keys, log, port, sessionKey, tokens }) =>
    GatewayService({ host, port, ...(sessionKey === undefined ? {} : { sessionKey: privateKeyFrom(cellKey(sessionKey)) }) }).pipe(
      Layer.provide([
        logLayer("gateway", log),
        Database.layer({ url: database }),
        Blobs.folder(blobs),
        keyringInFolder(keys),
        tokensLayer(tokens)
      ])
    )
})
