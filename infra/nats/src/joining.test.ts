import { assert, it } from "@effect/vitest"
import { HOST_API_PREFIX, hostConsumer, hostHears, hostWrites } from "@millrace/journal/admission"
import { AckPolicy, jetstream, JetStreamApiError, jetstreamManager } from "@nats-io/jetstream"
import type { NatsConnection } from "@nats-io/transport-node"
import { Effect } from "effect"
import { startCellUnderTest, testHost, type TestHost } from "./testing/cell-under-test.ts"

const HOSTS = 50

/** Says a fact of each kind, takes its placement and acknowledges it: all that a host lives on. */
const works = async ({ hostId }: TestHost, host: NatsConnection, scheduler: NatsConnection) => {
  const js = jetstream(host, { apiPrefix: HOST_API_PREFIX })
  for (const subject of hostWrites(hostId)) {
    const stored = await js.publish(subject, "a fact")
    const last = await host.request(`${HOST_API_PREFIX}.DIRECT.GET.HOSTS.${subject}`, "", { timeout: 2_000 })
    assert.strictEqual(last.headers?.get("Nats-Sequence"), String(stored.seq))
  }
  await jetstream(scheduler).publish(`mill.placement.${hostId}`, `for ${hostId}`)
  const message = await (await js.consumers.get("SCHEDULER", hostConsumer(hostId))).next({ expires: 5_000 })
  assert.strictEqual(message?.string(), `for ${hostId}`)
  assert.isTrue(await message?.ackAck())
  assert.strictEqual((await host.request(`beat.${hostId}`, "beat", { timeout: 2_000 })).string(), `go on, ${hostId}`)
}

it.live("50 hosts join with keys of their own, work, and are dismissed: thrown out at once, never to come back, their consumers gone", () =>
  Effect.gen(function*() {
    const { admission, as, url } = yield* startCellUnderTest
    const scheduler = yield* as("scheduler")
    scheduler.subscribe("beat.*", { callback: (_, beat) => void beat.respond(`go on, ${beat.subject.split(".")[1]}`) })
    const manager = yield* Effect.promise(() => jetstreamManager(scheduler, { checkAPI: false }))
    const hosts = Array.from({ length: HOSTS }, (_, index) => testHost(index))

    const joined = yield* Effect.forEach(hosts, (host) =>
      Effect.gen(function*() {
        const credentials = yield* admission.admitHost(host)
        const connection = yield* Effect.promise(() => host.connect(url, credentials))
        yield* Effect.promise(() => works(host, connection, scheduler))
        return { host, credentials, connection }
      }), { concurrency: 8 })
    const info = yield* Effect.promise(() => manager.consumers.info("SCHEDULER", hostConsumer(hosts[7]!.hostId)))
    assert.strictEqual(info.num_ack_pending, 0)
    assert.strictEqual(info.config.ack_policy, AckPolicy.Explicit)

    for (const { connection, credentials, host } of joined) {
      const thrownOut = connection.closed()
      yield* admission.dismissHost(host)
      assert.instanceOf(yield* Effect.promise(() => thrownOut), Error)
      const comeBack = yield* Effect.promise(() => host.connect(url, credentials).then(() => "came back", String))
      assert.match(comeBack, /Authorization Violation/)
      for (const stream of hostHears) {
        const gone = yield* Effect.promise(() => manager.consumers.info(stream, hostConsumer(host.hostId)).catch((error: unknown) => error))
        assert.strictEqual((gone as JetStreamApiError).code, 10014)
      }
    }
    // Asking again changes nothing, and is no error.
    yield* admission.dismissHost(hosts[0]!)
  }))

it.live("credentials end when they expire, and renewing them touches no server", () =>
  Effect.gen(function*() {
    const { admission, url } = yield* startCellUnderTest
    const host = testHost(1)
    const short = yield* admission.admitHost({ ...host, lifeMs: 1_000 })
    const connection = yield* Effect.promise(() => host.connect(url, short))
    const renewed = yield* admission.renewHost(host)
    assert.strictEqual(renewed.inboxPrefix, short.inboxPrefix)
    assert.match(String(yield* Effect.promise(() => connection.closed())), /expired|Authentication/i)
    // Within its last second the server still lets it in, and throws it out as that second ends.
    const comeBack = (): Promise<unknown> => host.connect(url, short).then((late) => late.closed().then(comeBack), String)
    assert.match(String(yield* Effect.promise(comeBack)), /Authorization Violation|Authentication Expired/)
    const again = yield* Effect.promise(() => host.connect(url, renewed))
    yield* Effect.promise(() => again.close())
  }))

it.live("a revocation outlives the server", () =>
  Effect.gen(function*() {
    const { admission, cell, url } = yield* startCellUnderTest
    const [host, other] = [testHost(1), testHost(2)]
    const [credentials, others] = [yield* admission.admitHost(host), yield* admission.admitHost(other)]
    yield* admission.dismissHost(host)
    yield* cell.nodes[0]!.kill
    yield* cell.nodes[0]!.restart
    assert.match(yield* Effect.promise(() => host.connect(url, credentials).then(() => "came back", String)), /Authorization Violation/)
    const stays = yield* Effect.promise(() => other.connect(url, others))
    yield* Effect.promise(() => stays.close())
  }))

it.live("only an id and a key enter subjects and claims", () =>
  Effect.gen(function*() {
    const { admission } = yield* startCellUnderTest
    const { hostId, publicKey } = testHost(1)
    const wild = yield* Effect.flip(admission.admitHost({ hostId: "*" as never, publicKey }))
    assert.strictEqual(wild.reason, "host_invalid")
    const seedless = yield* Effect.flip(admission.admitHost({ hostId, publicKey: `${publicKey.slice(0, -1)}${publicKey.endsWith("A") ? "B" : "A"}` }))
    assert.strictEqual(seedless.reason, "key_invalid")
  }))
