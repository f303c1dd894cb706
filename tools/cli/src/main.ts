import { Effect, Fiber } from "effect"
import { exitCodes } from "./exit-codes.ts"
import { codeOf, running } from "./running.ts"

/** How long an interrupted command may take to let go, in ms. */
const stopMsMax = 3_000

const fiber = Effect.runFork(running(process.argv.slice(2)))

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    Effect.runFork(Fiber.interrupt(fiber))
    setTimeout(() => process.exit(exitCodes.interrupted.code), stopMsMax).unref()
  })
}

// Whoever read our output has seen enough, as in `millrace events | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? exitCodes.done.code : exitCodes.bug.code))

fiber.addObserver((exit) => process.stdout.write("", () => process.exit(codeOf(exit))))
