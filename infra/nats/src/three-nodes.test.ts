import { assert, it } from "@effect/vitest"
import { HOST_API_PREFIX, makeAdmission } from "@millrace/journal/admission"
import { jetstream } from "@nats-io/jetstream"
import { Effect } from "effect"
import { join } from "node:path"
import { type NatsServer, startCell } from "./index.ts"
import { folder, testHost } from "./testing/cell-under-test.ts"

it.live("on three nodes a dismissed host is thrown out of each, and stays out of one that was down meanwhile", () =>
  Effect.gen(function*() {
    const dir = yield* folder
    const cell = yield* startCell({ storeDir: join(dir, "store"), keysDir: join(dir, "keys"), nodes: 3 })
    const [first, second, third] = cell.nodes as readonly [NatsServer, NatsServer, NatsServer]
    const admission = yield* makeAdmission({ servers: [first.url], creds: cell.keys.creds("access"), keys: cell.keys.admission })
    const host = testHost(1)
    const credentials = yield* admission.admitHost(host)
    const stored = yield* Effect.promise(async () => {
      const connection = await host.connect(third.url, credentials)
      const ack = await jetstream(connection, { apiPrefix: HOST_API_PREFIX }).publish(`mill.host.${host.hostId}`, "a fact")
      await connection.close()
      return ack.seq
    })
    assert.strictEqual(stored, 1)

    const there = yield* Effect.promise(() => host.connect(second.url, credentials))
    const thrownOut = there.closed()
    yield* third.stop
    yield* admission.dismissHost(host)
    assert.instanceOf(yield* Effect.promise(() => thrownOut), Error)
    yield* third.restart
    // It asks the others for newer claims once it has found them: until then it knows only the old ones.
    const comeBack = (): Promise<unknown> => host.connect(third.url, credentials).then((early) => early.closed().then(comeBack), String)
    assert.match(String(yield* Effect.promise(comeBack)), /Authorization Violation/)
  }))
