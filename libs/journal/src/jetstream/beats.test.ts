import { assert, it } from "@effect/vitest"
import { startCell, startServer } from "@millrace/infra-nats"
import { HostId } from "@millrace/schemas"
import { jwtAuthenticator } from "@nats-io/transport-node"
import { Context, Effect, Layer } from "effect"
import { join } from "node:path"
import { makeAdmission, newSeed, signingKey } from "../admission/index.ts"
import { Beats } from "../beats.ts"
import { beatsKeepTheirPromises, BeatsUnderTest } from "../testing/beats-promises.ts"
import { folder } from "../testing/nats-under-test.ts"
import { layerBeats } from "./beats.ts"
import { connectNats } from "./connect.ts"
import { provisionStreams } from "./streams.ts"

beatsKeepTheirPromises("beats on one nats-server", Layer.effect(BeatsUnderTest, Effect.gen(function*() {
  const { url } = yield* startServer({ storeDir: yield* folder })
  const open = Effect.map(Layer.build(layerBeats({ servers: url, name: "test" })), Context.get(Beats))
  return { host: yield* open, scheduler: yield* open }
})))

it.live("a host beats under its own id alone, over the wall between its account and the services'", () =>
  Effect.scoped(Effect.gen(function*() {
    const dir = yield* folder
    const { keys, urls: servers } = yield* startCell({ storeDir: join(dir, "store"), keysDir: join(dir, "keys") })
    const provisioner = yield* connectNats({ servers, name: "provisioner", credentialsFile: keys.credsFile("provisioner") })
    yield* provisionStreams({ connection: provisioner, prefix: "$JS.API", patienceMs: 10_000 })
    const admission = yield* makeAdmission({ servers, creds: keys.creds("access"), keys: keys.admission })
    const [hostId, other] = [HostId.make(`hst_${"0".repeat(25)}1`), HostId.make(`hst_${"0".repeat(25)}2`)]
    const seed = newSeed("user")
    const { inboxPrefix, jwt } = yield* admission.admitHost({ hostId, publicKey: signingKey(seed).publicKey })
    const open = (config: Parameters<typeof layerBeats>[0]) => Effect.map(Layer.build(layerBeats(config)), Context.get(Beats))
    const host = yield* open({ servers, name: hostId, inboxPrefix, authenticator: jwtAuthenticator(jwt, new TextEncoder().encode(seed)) })
    const scheduler = yield* open({ servers, name: "scheduler", credentialsFile: keys.credsFile("scheduler") })
    const heard: Array<string> = []
    yield* scheduler.answer(({ hostId }) => {
      heard.push(hostId)
      return { term: 1, leaseMs: 15_000, lost: false }
    })
    const beat = { hostId, bootId: "boot", sentAtMonoMs: 5, attempts: 0 }
    assert.deepStrictEqual(yield* host.beat(beat), { term: 1, leaseMs: 15_000, lost: false })
    assert.isUndefined(yield* host.beat({ ...beat, hostId: other }))
    assert.deepStrictEqual(heard, [hostId])
  })))
