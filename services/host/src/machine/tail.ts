import { Cause, Effect, Option, Stream } from "effect"
import { watch } from "node:fs"
import * as fs from "node:fs/promises"
import { dirname } from "node:path"

const pieceBytes = 64 * 1024
/** A change that the system did not tell of is seen after this long, in ms. */
const missedMs = 500

export interface Tail {
  readonly path: string
  /** The offset to begin at, in bytes. */
  readonly from: number
  /** Succeeds when nobody writes any more. */
  readonly ended: Effect.Effect<unknown>
  /** What is there now, without waiting for more. */
  readonly now: boolean
}

/**
 * A file that grows, from an offset on: each byte once and in order, as it comes. Ends when its writer has
 * ended and all is read, even if the file is removed then: it stays open here. Waits for changes instead
 * of asking, and reads as fast as it is read from.
 */
export const tail = ({ ended, from, now, path }: Tail): Stream.Stream<Uint8Array> =>
  Stream.unwrap(Effect.gen(function*() {
    const changes = yield* changesIn(dirname(path))
    let over = false
    yield* Effect.forkScoped(Effect.andThen(ended, Effect.sync(() => {
      over = true
      changes.wake()
    })))
    let file: fs.FileHandle | undefined
    let at = from
    yield* Effect.addFinalizer(() => Effect.promise(async () => file?.close().catch(() => undefined)))
    const next: Effect.Effect<readonly [Uint8Array], Cause.Done> = Effect.gen(function*() {
      while (true) {
        // Looked at before reading: what is written by the time of the end is read after it.
        const last = over || now
        const seen = changes.count()
        file ??= Option.getOrUndefined(yield* Effect.option(Effect.tryPromise(() => fs.open(path, "r"))))
        if (file !== undefined) {
          const open = file
          const buffer = Buffer.allocUnsafe(pieceBytes)
          const { bytesRead } = yield* Effect.promise(() => open.read(buffer, 0, pieceBytes, at))
          if (bytesRead > 0) {
            at += bytesRead
            return [buffer.subarray(0, bytesRead)] as const
          }
        }
        if (last) return yield* Cause.done()
        yield* Effect.timeoutOption(changes.after(seen), missedMs)
      }
    })
    return Stream.fromPull(Effect.succeed(next))
  }))

/** Counts what happens in a folder. Where the system cannot tell, nothing is counted, and the timer alone serves. */
const changesIn = (folder: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const waiting = new Set<() => void>()
      let count = 0
      const wake = () => {
        count++
        for (const one of waiting) one()
      }
      const watcher = (() => {
        try {
          return watch(folder, { persistent: false }, wake).on("error", () => undefined)
        } catch {
          return undefined
        }
      })()
      const after = (seen: number) => Effect.callback<void>((resume) => {
        if (count !== seen) return resume(Effect.void)
        const one = () => {
          waiting.delete(one)
          resume(Effect.void)
        }
        waiting.add(one)
        return Effect.sync(() => waiting.delete(one))
      })
      return { after, count: () => count, wake, close: () => watcher?.close() }
    }),
    ({ close }) => Effect.sync(close)
  )
