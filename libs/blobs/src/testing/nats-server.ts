import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as later } from "node:timers/promises"

/** The address in the file that a server writes when it listens. At most ten seconds. */
const addressIn = async (folder: string, pid: number | undefined): Promise<string> => {
  for (let look = 0; look < 400; look++) {
    const text = await fs.readFile(join(folder, `nats-server_${pid}.ports`), "utf8").catch(() => "")
    if (text !== "") return (JSON.parse(text) as { readonly nats: ReadonlyArray<string> }).nats[0] ?? ""
    await later(25)
  }
  throw new Error("nats-server did not listen within ten seconds")
}

/** A nats-server with JetStream of its own, on a free port of 127.0.0.1. Answers its address. */
export const natsServer = (binary: string): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => fs.mkdtemp(join(tmpdir(), "millrace-nats-"))),
      (folder) => Effect.promise(() => fs.rm(folder, { recursive: true, force: true }))
    )
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(binary, ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder, "--ports_file_dir", folder], { stdio: "ignore" })
      ),
      (server) => Effect.promise(async () => {
        if (server.exitCode !== null || !server.kill("SIGKILL")) return
        await once(server, "exit")
      })
    )
    return yield* Effect.promise(() => addressIn(folder, server.pid))
  })
