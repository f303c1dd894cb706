import { Clock, Effect, Redacted, Scope } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { openSession, type SessionOptions } from "./client-end.ts"
import { makeHostEnd, type HostEndOptions } from "./host-end.ts"
import { NotAdmitted, serveRelay, type RelayOptions } from "./relay.ts"
import { freshHolder, signWarrant, verifyWith, type Holder, type SessionWarrant } from "./warrant.ts"

/** A cell for tests: one relay on 127.0.0.1 on a free port, one key that signs warrants. */
export const testCell = Effect.fn("testCell")(function*(options: Partial<RelayOptions> = {}) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  const server = yield* listening
  const relay = yield* serveRelay({ server, path: "/wire", admitHost, admitClient, ...options })
  const port = (server.address() as AddressInfo).port
  const relayUrl = `ws://127.0.0.1:${port}/wire`
  const verifyWarrant = verifyWith({ cellKeys: [publicKey], skewMs: 0 })

  /** A warrant for a session of `hostId`, good for a minute from now unless `terms` say otherwise. */
  const warrantFor = Effect.fnUntraced(function*(terms: Partial<SessionWarrant> & Pick<SessionWarrant, "sessionId" | "hostId">, holder: Holder = freshHolder()) {
    const nowMs = yield* Clock.currentTimeMillis
    const warrant: SessionWarrant = {
      jobId: "job-1", attempt: 1, channels: ["stdin", "stdout", "stderr", "control", "log", "port:*"], bytesMax: 2 ** 40,
      notBeforeMs: nowMs - 1000, expiresAtMs: nowMs + 60_000, holder: holder.publicKey, ...terms
    }
    return { warrant: signWarrant(warrant, privateKey), holder }
  })

  /** A host that dials in as `hostId`. */
  const host = (hostId: string, handle: HostEndOptions["handle"], other: Partial<HostEndOptions> = {}) =>
    makeHostEnd({ hostId, relayUrl, token: Effect.succeed(Redacted.make(`host ${hostId}`)), verifyWarrant, handle, ...other })

  /** A client that opens a session with these channels, under a warrant of its own unless given one. */
  const open = Effect.fnUntraced(function*(
    session: Pick<SessionOptions, "hostId" | "sessionId" | "channels"> & Partial<SessionOptions>
  ) {
    const own = yield* warrantFor({ sessionId: session.sessionId, hostId: session.hostId })
    return yield* openSession({ relayUrl, token: Effect.succeed(Redacted.make("client")), ...own, ...session })
  })

  return { server, relay, relayUrl, privateKey, publicKey, verifyWarrant, warrantFor, host, open }
})

const admitHost = (token: Redacted.Redacted): Effect.Effect<string, NotAdmitted> => {
  const hostId = /^host (.+)$/u.exec(Redacted.value(token))?.[1]
  return hostId === undefined ? Effect.fail(new NotAdmitted({ reason: "not a host's token" })) : Effect.succeed(hostId)
}

const admitClient = (token: Redacted.Redacted): Effect.Effect<void, NotAdmitted> =>
  Redacted.value(token) === "client" ? Effect.void : Effect.fail(new NotAdmitted({ reason: "not a client's token" }))

const listening: Effect.Effect<Server, never, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<Server>((resume) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
  })
)
