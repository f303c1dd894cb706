import type { HostId } from "@millrace/schemas"
import { NotAdmitted, type Relay, type RelayLimits, serveRelay, ticketOf } from "@millrace/wire"
import { Clock, Deferred, Effect, Exit, Redacted, Result, Scope } from "effect"
import { createPublicKey, type KeyObject } from "node:crypto"
import { EventEmitter } from "node:events"
import { type IncomingMessage, Server } from "node:http"
import { Roster } from "../reactors/roster.ts"

/** Where the relay is, on the API's own address. */
export const relayPath = "/v1/wire"

const ours = new RegExp(`^${relayPath}/(host|session)(\\?|$)`, "u")

/**
 * An HTTP server with a second door: WebSockets under the relay's path come out at `wire`, and whatever
 * else is asked goes where it always went. Two listeners of one event would both answer.
 */
export class TwoDoors extends Server {
  readonly wire: EventEmitter = new EventEmitter()
  readonly #closing = Deferred.makeUnsafe<void>()

  /** Waits until the server is asked to stop: what would keep its connections open for hours ends then. */
  readonly closing: Effect.Effect<void> = Deferred.await(this.#closing)

  override close(callback?: (error?: Error) => void): this {
    Deferred.doneUnsafe(this.#closing, Effect.void)
    return super.close(callback)
  }

  override emit(event: string | symbol, ...given: ReadonlyArray<any>): boolean {
    const [request] = given
    const isWire = event === "upgrade" && ours.test(String((request as IncomingMessage).url))
    return isWire && this.wire.listenerCount("upgrade") > 0 ? this.wire.emit("upgrade", ...given) : super.emit(event as string, ...given)
  }

  /** The relay's address for this process itself. */
  get relayUrl(): string {
    const address = this.address()
    if (address === null || typeof address === "string") throw new Error("the API does not listen yet")
    const host = address.address === "0.0.0.0" ? "127.0.0.1" : address.address === "::" ? "[::1]" : address.family === "IPv6" ? `[${address.address}]` : address.address
    return `ws://${host}:${address.port}${relayPath}`
  }
}

/**
 * The meeting point of hosts and of those who look at their work. A host is let in by its own key, as
 * access admitted it; whoever asks for a host shows the warrant of the session, signed by this cell, and
 * the host then judges that itself. A host that is dismissed is hung up on.
 */
export const serveHosts = Effect.fnUntraced(function*(
  server: TwoDoors,
  { key, limits }: { readonly key: KeyObject; readonly limits?: Partial<RelayLimits> }
): Effect.fn.Return<Relay, never, Roster | Scope.Scope> {
  const roster = yield* Roster
  const cellKeys = [createPublicKey(key)]
  const own = yield* Scope.fork(yield* Effect.scope)
  yield* Effect.forkScoped(Effect.andThen(server.closing, Scope.close(own, Exit.void)))
  const relay = yield* serveRelay({
    server: server.wire,
    path: relayPath,
    admitHost: (token) => Effect.mapError(roster.hostOf(Redacted.value(token)), ({ reason }) => new NotAdmitted({ reason })),
    admitClient: (token, hostId) => Effect.flatMap(Clock.currentTimeMillis, (nowMs) =>
      Effect.fromResult(Result.mapError(
        ticketOf(Buffer.from(Redacted.value(token), "base64url"), { cellKeys, hostId, nowMs }),
        ({ reason }) => new NotAdmitted({ reason })
      ))),
    ...(limits === undefined ? {} : { limits })
  }).pipe(Scope.provide(own))
  yield* roster.onDismissed((host: HostId) => relay.hangUp(host))
  return relay
})
