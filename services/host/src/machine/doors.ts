import type { AttemptId, PlacementMade } from "@millrace/schemas"
import { Context, Effect, Layer } from "effect"
import { LocalCopies } from "./local-copies.ts"
import type { Running } from "./runtime.ts"
import { openSocket, type SocketOptions } from "./socket.ts"

/** Work that runs here and may be looked at. */
export interface Watched {
  readonly made: PlacementMade
  /** Where its stdout and stderr grow. */
  readonly folder: string
  /** Nothing is written there any more. */
  readonly ended: Effect.Effect<unknown>
}

/**
 * What running work has towards the outside: the socket over which its program speaks to the cell, and its
 * output for those who follow it. An attempt has them from before it starts until after it has ended.
 */
export class Doors extends Context.Service<Doors, {
  /** Opens the attempt's socket, and says where it is; opening it again, as when work is taken up, gives the same place. */
  readonly open: (made: PlacementMade) => Effect.Effect<string | undefined>
  /** From now on its output can be followed. */
  readonly runs: (made: PlacementMade, running: Running) => Effect.Effect<void>
  /** It has ended: its socket is closed, and nobody begins to follow it here. Whoever does already reads to the end. */
  readonly close: (attempt: AttemptId) => Effect.Effect<void>
  /** How many bytes went over its socket, both ways, since it was opened here. */
  readonly askedBytes: (attempt: AttemptId) => number
  /** The work, while it runs here. */
  readonly watched: (attempt: AttemptId) => Watched | undefined
}>()("millrace/host/Doors") {
  /** No way out and none in. */
  static readonly none: Layer.Layer<Doors> = Layer.succeed(Doors, {
    open: () => Effect.succeed(undefined),
    runs: () => Effect.void,
    close: () => Effect.void,
    askedBytes: () => 0,
    watched: () => undefined
  })

  /** With a socket for each attempt if there is an API that it may lead to. */
  static readonly layer = (socket: SocketOptions | undefined): Layer.Layer<Doors> => Layer.effect(Doors, Effect.gen(function*() {
    const scope = yield* Effect.scope
    const copies = yield* LocalCopies
    const sockets = new Map<AttemptId, { readonly path: string; readonly askedBytes: () => number; readonly close: Effect.Effect<void> }>()
    const running = new Map<AttemptId, Watched>()

    const closeSocket = (attempt: AttemptId) => Effect.suspend(() => {
      const open = sockets.get(attempt)
      sockets.delete(attempt)
      return open?.close ?? Effect.void
    })

    return {
      open: Effect.fnUntraced(function*(made) {
        if (socket === undefined) return undefined
        const known = sockets.get(made.attemptId)
        if (known !== undefined) return known.path
        // A host that cannot make a socket runs the work without: its program is told so when it looks for it.
        const opened = yield* openSocket(made, { ...socket, copies }, scope).pipe(
          Effect.tapError((error) => Effect.logError(error.message)),
          Effect.option
        )
        if (opened._tag === "None") return undefined
        sockets.set(made.attemptId, opened.value)
        return opened.value.path
      }),
      runs: (made, { ended, folder }) => Effect.sync(() => {
        if (folder !== undefined) running.set(made.attemptId, { made, folder, ended })
      }),
      close: (attempt) => Effect.andThen(closeSocket(attempt), Effect.sync(() => running.delete(attempt))),
      askedBytes: (attempt) => sockets.get(attempt)?.askedBytes() ?? 0,
      watched: (attempt) => running.get(attempt)
    }
  }))
}
