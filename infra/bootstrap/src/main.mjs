/**
 * Run by npm before `npm start` and `npm test`, on whatever Node this machine has (20 or newer):
 * `node infra/bootstrap/src/main.mjs --for start|test [--refresh]`.
 */
import { bootstrap } from "./bootstrap.mjs"
import { endRunningCommands } from "./command.mjs"
import { repositoryRoot } from "./places.mjs"

const EXIT_INTERRUPTED = 130

for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
  process.on(signal, () => {
    endRunningCommands()
    console.error("\nInterrupted. Run it again: it goes on from here.")
    process.exit(EXIT_INTERRUPTED)
  })
}

try {
  await bootstrap(repositoryRoot(), { refresh: process.argv.includes("--refresh") })
} catch (error) {
  console.error(`\nThis machine could not be made ready. ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
