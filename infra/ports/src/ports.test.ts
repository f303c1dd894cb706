import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { createServer } from "node:net"
import { freePorts } from "./index.ts"

const outgoing = "/proc/sys/net/ipv4/ip_local_port_range"

it.effect("gives different ports that can be listened on, none of which the system gives to a client", () => Effect.gen(function*() {
  const ports = yield* freePorts(20)
  const [lowest = 0] = readFileSync(outgoing, "utf8").split(/\s+/u).map(Number)
  assert.strictEqual(new Set(ports).size, 20)
  for (const port of ports) {
    assert.isBelow(port, lowest)
    yield* Effect.acquireUseRelease(
      Effect.callback<ReturnType<typeof createServer>, Error>((resume) => {
        const server = createServer()
        server.once("error", (cause) => resume(Effect.fail(cause)))
        server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      () => Effect.void,
      (server) => Effect.sync(() => void server.close())
    )
  }
}))
