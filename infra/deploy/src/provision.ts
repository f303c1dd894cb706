import { requireNode24 } from "@millrace/bootstrap"
import { provision } from "@millrace/infra-nats"
import { Cause, Effect, Exit } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"

requireNode24()

/** Makes the streams that are missing, waiting up to a minute for the log, and ends: 0 when they are there, 69 otherwise. */
const main = Effect.suspend(() => {
  const servers = (process.env["MILLRACE_NATS_URL"] ?? "nats://127.0.0.1:4222").split(",")
  const folder = process.env["MILLRACE_NATS_CREDS"]
  if (folder === undefined) return Effect.fail(new Error("MILLRACE_NATS_CREDS is not set; it wants the folder that holds provisioner.creds"))
  return provision({ servers, creds: readFileSync(join(folder, "provisioner.creds"), "utf8") })
})

const fiber = Effect.runFork(main)
fiber.addObserver((exit) => {
  if (Exit.isSuccess(exit)) {
    process.stderr.write("The streams are there.\n")
    process.exit(0)
  }
  const error = Cause.squash(exit.cause)
  process.stderr.write(`The streams could not be made: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(69)
})
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(130))
