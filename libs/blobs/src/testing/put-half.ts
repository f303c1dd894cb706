import { Effect, Stream } from "effect"
import { Blobs } from "../blobs.ts"
import { bytesNumbered } from "./numbered-bytes.ts"

// A process of its own that puts a blob into the folder it is given, says so when half of it is written,
// and then waits to be killed. Run with: node put-half.ts <folder>
const [, , root = ""] = process.argv
const halfThenNothing = Stream.concat(
  Stream.succeed(bytesNumbered(1, 3_000_000)),
  Stream.fromEffect(Effect.andThen(Effect.sync(() => process.stdout.write("half\n")), Effect.never))
)
setInterval(() => {}, 60_000)
await Effect.runPromise(Blobs.use((blobs) => blobs.put(halfThenNothing)).pipe(Effect.provide(Blobs.folder(root))))
