import { Effect } from "effect"
import { join } from "node:path"
import { pathToFileURL } from "node:url"

/**
 * Starts the servers of a cell by a release's own hand, from its source tree and in a folder (the two
 * arguments), and writes the settings of its services as one line. Whoever started it ends it by closing its
 * standard input.
 */
const [root = "", folder = ""] = process.argv.slice(2)
const { startStack } = await import(pathToFileURL(join(root, "tools", "dev", "src", "stack.ts")).href) as typeof import("../../tools/dev/src/stack.ts")

const ended = new Promise<void>((resolve) => void process.stdin.resume().once("close", resolve).once("end", resolve))
await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { env, natsUrl, credentials, databaseUrl, tokenFile } = yield* startStack({ folder, freePorts: true })
  process.stdout.write(`${JSON.stringify({ env, natsUrl, credentials, databaseUrl, tokenFile })}\n`)
  yield* Effect.promise(() => ended)
})))
