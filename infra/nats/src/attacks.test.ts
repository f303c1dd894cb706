import { assert, layer } from "@effect/vitest"
import { HOST_API_PREFIX, type HostCredentials, hostConsumer, hostPermissions } from "@millrace/journal/admission"
import { type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream"
import { headers, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node"
import { Effect } from "effect"
import { CellUnderTest, testHost, type TestHost } from "./testing/cell-under-test.ts"

/**
 * What a host could try against the others and the cell. Where the server would do harm if it were not
 * for our layout, the same attack also runs where it succeeds (in the services' account, or against a
 * careless stream), so that a check that cannot see harm would be seen.
 */
interface Scene {
  /** The attacker: a host among hosts. */
  readonly h1: NatsConnection
  /** The same host's permissions, but in the services' account: what one shared account would allow. */
  readonly h1Inside: NatsConnection
  readonly h9: NatsConnection
  readonly attacker: TestHost
  readonly victim: TestHost
  readonly victims: HostCredentials
  readonly scheduler: NatsConnection
  readonly admin: NatsConnection
  readonly manager: JetStreamManager
}

const MS_MAX = 5_000
const own = (host: TestHost) => `mill.host.${host.hostId}`
const placement = (host: TestHost) => `mill.placement.${host.hostId}`
let numbers = 0

/** Two hosts of their own for each attack, and a stream of the services' account to aim at. */
const scene = Effect.gen(function*() {
  const { admission, as, inCell, url } = yield* CellUnderTest
  const [attacker, victim] = [testHost(++numbers), testHost(++numbers)]
  const [attackers, victims] = [yield* admission.admitHost(attacker), yield* admission.admitHost(victim)]
  const join = (host: TestHost, credentials: HostCredentials) =>
    Effect.acquireRelease(Effect.promise(() => host.connect(url, credentials)), (connection) => Effect.promise(() => connection.close()))
  const admin = yield* inCell("everything")
  const permissions = hostPermissions(attacker.hostId, attackers.inboxPrefix)
  const manager = yield* Effect.promise(() => jetstreamManager(admin))
  yield* Effect.acquireRelease(
    Effect.promise(() => manager.streams.add({ name: "TARGET", subjects: ["target.>"], allow_rollup_hdrs: true, allow_msg_schedules: true, allow_msg_ttl: true, allow_atomic: true })),
    () => Effect.promise(() => manager.streams.delete("TARGET"))
  )
  const found: Scene = {
    attacker, victim, victims, admin, manager,
    h1: yield* join(attacker, attackers),
    h9: yield* join(victim, victims),
    h1Inside: yield* inCell({ ...permissions, publish: permissions.publish.map((subject) => subject.replace(HOST_API_PREFIX, "$JS.API")) }),
    scheduler: yield* as("scheduler")
  }
  return found
})

const attack = (body: (scene: Scene) => Promise<void>) => Effect.flatMap(scene, (found) => Effect.promise(() => body(found)))

/** How many facts lie on a subject. */
const facts = async ({ manager }: Scene, stream: string, subject: string) => {
  const { state } = await manager.streams.info(stream, { subjects_filter: subject })
  return state.subjects?.[subject] ?? 0
}

/** Sends as a client can: any reply, any headers. */
const send = async (from: NatsConnection, subject: string, { body = "", header, reply }: { body?: string; header?: Record<string, string>; reply?: string }) => {
  const options = { ...(header === undefined ? {} : { headers: headerOf(header) }), ...(reply === undefined ? {} : { reply }) }
  from.publish(subject, body, options)
  await from.flush()
}

const headerOf = (pairs: Record<string, string>): MsgHdrs => {
  const set = headers()
  for (const [name, value] of Object.entries(pairs)) set.set(name, value)
  return set
}

/**
 * Everything sent before has had its effect: the server handles a connection's messages in order, and what
 * JetStream answers or is asked goes through queues that the admin's own request passes behind it.
 */
const settled = async ({ attacker, h1, manager }: Scene) => {
  for (let round = 0; round < 3; round++) {
    await jetstream(h1).publish(own(attacker), "fence", { timeout: MS_MAX })
    await manager.streams.info("HOSTS")
    await manager.streams.info("TARGET")
  }
}

/** Waits for harm that must come, where nothing protects. */
const eventually = async (what: string, seen: () => Promise<boolean>) => {
  for (const end = Date.now() + MS_MAX; Date.now() < end;) if (await seen()) return
  assert.fail(`the attack did no harm even where nothing stops it, so this test shows nothing: ${what}`)
}

/** What a request comes to: an answer, or the server's refusal. */
const ask = (from: NatsConnection, subject: string, body = ""): Promise<Msg | string> =>
  from.request(subject, body, { timeout: MS_MAX }).catch((error: unknown) => String(error))

const isRefused = async (from: NatsConnection, subject: string, body = "") =>
  assert.match(String(await ask(from, subject, body)), /Permissions Violation/, `${subject} must be refused`)

const isDeaf = async (from: NatsConnection, subject: string) => {
  const refused = new Promise<string>((resolve) => from.subscribe(subject, { callback: (error, message) => resolve(error === null ? `heard ${message.subject}` : String(error)) }))
  // The server refuses a subscription before it answers the ping behind it.
  const answer = await Promise.race([refused, from.flush().then(() => "may listen")])
  assert.match(answer, /Permissions Violation/, `${subject} must not be heard`)
}

layer(CellUnderTest.layer, { excludeTestServices: true })("a host cannot", (it) => {
  it.effect("purge or delete a stream by the reply of its own publish", () => attack(async (found) => {
    const { admin, attacker, h1, manager } = found
    await jetstream(admin).publish("target.kept", "kept")
    for (const stream of ["TARGET", "HOSTS", "SCHEDULER"]) {
      for (const call of ["PURGE", "DELETE"]) {
        for (const body of ["", "{}"]) await send(h1, own(attacker), { body, reply: `$JS.API.STREAM.${call}.${stream}` })
        await send(h1, own(attacker), { reply: `${HOST_API_PREFIX}.STREAM.${call}.${stream}` })
      }
    }
    await settled(found)
    assert.strictEqual(await facts(found, "TARGET", "target.kept"), 1)
    assert.isAbove((await manager.streams.info("HOSTS")).state.messages, 0)
    await manager.streams.info("SCHEDULER")
    // What the reply aimed at does empty the stream when it is allowed to arrive.
    await send(admin, "$JS.API.STREAM.PURGE.TARGET", { reply: "nobody" })
    await eventually("purge", async () => (await facts(found, "TARGET", "target.kept")) === 0)
  }))

  it.effect("forge another host's fact by the reply of its own publish", () => attack(async (found) => {
    const { attacker, h1, h1Inside, victim } = found
    await send(h1, own(attacker), { reply: own(victim) })
    await settled(found)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 0)
    await send(h1Inside, own(attacker), { reply: own(victim) })
    await eventually("forged", async () => (await facts(found, "HOSTS", own(victim))) === 1)
  }))

  it.effect("forge another host's fact by asking for its next placement there", () => attack(async (found) => {
    const { attacker, h1, h1Inside, scheduler, victim } = found
    await jetstream(scheduler).publish(placement(attacker), "for h1")
    const next = (api: string) => `${api}.CONSUMER.MSG.NEXT.SCHEDULER.${hostConsumer(attacker.hostId)}`
    await send(h1, next(HOST_API_PREFIX), { body: JSON.stringify({ batch: 2, no_wait: true }), reply: own(victim) })
    await settled(found)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 0)
    await send(h1Inside, next("$JS.API"), { body: JSON.stringify({ batch: 2, no_wait: true }), reply: own(victim) })
    await eventually("forged", async () => (await facts(found, "HOSTS", own(victim))) > 0)
  }))

  it.effect("put anything into any other stream by a reply", () => attack(async (found) => {
    const { attacker, h1, h1Inside } = found
    await send(h1, own(attacker), { reply: "target.x" })
    await send(h1, own(attacker), { reply: placement(attacker) })
    await settled(found)
    assert.strictEqual(await facts(found, "TARGET", "target.x"), 0)
    assert.strictEqual(await facts(found, "SCHEDULER", placement(attacker)), 0)
    await send(h1Inside, own(attacker), { reply: "target.x" })
    await eventually("injected", async () => (await facts(found, "TARGET", "target.x")) === 1)
  }))

  it.effect("delete another's consumer, or take from it", () => attack(async (found) => {
    const { attacker, h1, h9, manager, scheduler, victim } = found
    const theirs = hostConsumer(victim.hostId)
    for (const api of [HOST_API_PREFIX, "$JS.API"]) {
      for (const call of ["DELETE", "INFO", "MSG.NEXT", "RESET", "PAUSE"]) await isRefused(h1, `${api}.CONSUMER.${call}.SCHEDULER.${theirs}`)
      await send(h1, own(attacker), { reply: `${api}.CONSUMER.DELETE.SCHEDULER.${theirs}` })
    }
    await settled(found)
    await jetstream(scheduler).publish(placement(victim), "for h9")
    const consumer = await jetstream(h9, { apiPrefix: HOST_API_PREFIX }).consumers.get("SCHEDULER", theirs)
    assert.strictEqual((await consumer.next({ expires: MS_MAX }))?.string(), "for h9")
    assert.isTrue(await manager.consumers.delete("SCHEDULER", theirs))
  }))

  it.effect("acknowledge what another has in hand", () => attack(async (found) => {
    const { admin, attacker, h1, h9, manager, scheduler, victim } = found
    await jetstream(scheduler).publish(placement(victim), "for h9")
    const theirs = hostConsumer(victim.hostId)
    const message = await (await jetstream(h9, { apiPrefix: HOST_API_PREFIX }).consumers.get("SCHEDULER", theirs)).next({ expires: MS_MAX })
    // Even if the subject were known: it names stream, consumer, sequences and time.
    const ack = (message as unknown as { readonly msg: Msg }).msg.reply as string
    const pending = async () => (await manager.consumers.info("SCHEDULER", theirs)).num_ack_pending
    await isRefused(h1, ack, "+ACK")
    await send(h1, own(attacker), { reply: ack })
    await settled(found)
    assert.strictEqual(await pending(), 1)
    await send(admin, ack, { body: "+ACK" })
    await eventually("acknowledged", async () => (await pending()) === 0)
  }))

  it.effect("wipe facts by a rollup header", () => attack(async (found) => {
    const { admin, attacker, h1, victim, h9 } = found
    await jetstream(h9).publish(own(victim), "h9's")
    await jetstream(admin).publish("target.other", "kept")
    for (const rollup of ["all", "sub"]) {
      const answer = await jetstream(h1).publish(own(attacker), "mine", { headers: headerOf({ "Nats-Rollup": rollup }) }).catch(String)
      assert.match(String(answer), /rollup not permitted/)
    }
    await settled(found)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 1)
    await send(admin, "target.mine", { header: { "Nats-Rollup": "all" } })
    await eventually("wiped", async () => (await facts(found, "TARGET", "target.other")) === 0)
  }))

  it.effect("have the server say another's fact later, by a schedule header", () => attack(async (found) => {
    const { admin, attacker, h1, victim } = found
    const schedule = (target: string) => ({ "Nats-Schedule": `@at ${new Date(Date.now() - 1_000).toISOString()}`, "Nats-Schedule-Target": target })
    const answer = await jetstream(h1).publish(own(attacker), "forged", { headers: headerOf(schedule(own(victim))) }).catch(String)
    assert.match(String(answer), /schedules is disabled/)
    await send(admin, "target.schedule", { header: schedule("target.forged") })
    await eventually("forged by schedule", async () => (await facts(found, "TARGET", "target.forged")) === 1)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 0)
  }))

  it.effect("let facts expire, open batches or count, by headers", () => attack(async (found) => {
    const { attacker, h1 } = found
    const publish = (header: Record<string, string>, on = h1, subject = own(attacker)) =>
      on.request(subject, "x", { headers: headerOf(header), timeout: MS_MAX }).then((answer) => answer.string())
    const batch = { "Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "1" }
    assert.match(await publish({ "Nats-TTL": "1s" }), /per-message TTL is disabled/)
    assert.match(await publish({ ...batch, "Nats-Batch-Commit": "1" }), /atomic publish is disabled/)
    assert.match(await publish({ "Nats-Incr": "+1" }), /counters/)
    // A stream that allows them does take them.
    assert.match(await publish({ "Nats-TTL": "1s" }, found.admin, "target.ttl"), /"seq"/)
    assert.match(await publish({ ...batch, "Nats-Batch-Commit": "1" }, found.admin, "target.batch"), /"batch"/)
  }))

  it.effect("make another's fact vanish by claiming its message id: honest appends carry none", () => attack(async (found) => {
    const { attacker, h1, h9, victim } = found
    await jetstream(h1).publish(own(attacker), "claim", { msgID: "the id of h9's next fact" })
    // The harm, for a writer that relied on it: answered as a success, and stored nowhere.
    const lost = await jetstream(h9).publish(own(victim), "relies on it", { msgID: "the id of h9's next fact" })
    assert.isTrue(lost.duplicate)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 0)
    // What our writers send: the expectation on the own subject, which nobody else can move.
    const stored = await jetstream(h9).publish(own(victim), "a fact", { expect: { lastSubjectSequence: 0 } })
    assert.isFalse(stored.duplicate)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 1)
  }))

  it.effect("hear what is meant for others", () => attack(async ({ admin, attacker, h1, victim, victims }) => {
    for (const subject of [`${victims.inboxPrefix}.>`, "_INBOX.>", ">", "*.>", "mill.>", "mill.*.>", placement(victim), placement(attacker), "beat.*", "pulse.*", "$JS.>", "_R_.>"]) {
      await isDeaf(h1, subject)
    }
    // Somebody with the right to listen does hear.
    const heard = new Promise<string>((resolve) => admin.subscribe(placement(victim), { max: 1, callback: (_, message) => resolve(message.subject) }))
    await admin.flush()
    await send(admin, placement(victim), {})
    assert.strictEqual(await heard, placement(victim))
  }))

  it.effect("speak as another, or as a service", () => attack(async ({ h1, victim }) => {
    const others = [own(victim), `mill.attempt.${victim.hostId}`, `mill.decision.host.${victim.hostId}`, `beat.${victim.hostId}`]
    const services = [placement(victim), "mill.job.demo.job_1", "mill.decision.access", "pulse.access", "target.x"]
    for (const subject of [...others, ...services]) await isRefused(h1, subject)
  }))

  it.effect("call the JetStream API", () => attack(async ({ attacker, h1, victim }) => {
    const calls = ["INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.HOSTS", "STREAM.CREATE.MINE", "STREAM.UPDATE.HOSTS", "STREAM.PURGE.HOSTS", "STREAM.DELETE.HOSTS",
      "STREAM.MSG.GET.HOSTS", "STREAM.MSG.DELETE.HOSTS", "STREAM.SNAPSHOT.HOSTS", "STREAM.RESTORE.MINE", "CONSUMER.CREATE.SCHEDULER",
      `CONSUMER.CREATE.SCHEDULER.mine.${placement(victim)}`, `CONSUMER.CREATE.SCHEDULER.${hostConsumer(attacker.hostId)}.${placement(victim)}`, "CONSUMER.DURABLE.CREATE.SCHEDULER.mine", "CONSUMER.LIST.SCHEDULER",
      "DIRECT.GET.HOSTS", `DIRECT.GET.HOSTS.${own(victim)}`, `DIRECT.GET.SCHEDULER.${placement(victim)}`]
    for (const call of calls) {
      for (const api of [HOST_API_PREFIX, "$JS.API"]) await isRefused(h1, `${api}.${call}`)
    }
    for (const subject of ["$SYS.REQ.SERVER.PING", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.ACCOUNT.x.CONNECT"]) await isRefused(h1, subject)
  }))

  it.effect("read another's fact through the body of a request for its own", () => attack(async (found) => {
    const { attacker, h1, h9, victim } = found
    const { seq } = await jetstream(h9).publish(own(victim), "h9's")
    await jetstream(h1).publish(own(attacker), "h1's")
    const get = `${HOST_API_PREFIX}.DIRECT.GET.HOSTS.${own(attacker)}`
    for (const body of [{ seq }, { last_by_subj: own(victim) }, { multi_last: ["mill.>"] }, { next_by_subj: own(victim), seq: 1 }, { seq: 1, batch: 100 }]) {
      const answer = await ask(h1, get, JSON.stringify(body))
      assert.isNotString(answer)
      assert.notStrictEqual((answer as Msg).string(), "h9's")
      assert.notStrictEqual((answer as Msg).headers?.get("Nats-Subject"), own(victim))
    }
    assert.strictEqual(((await ask(h1, get)) as Msg).string(), "h1's")
  }))

  it.effect("have the server's trace of a message stored as a fact", () => attack(async (found) => {
    const { admin, attacker, h1, victim } = found
    await send(h1, own(attacker), { header: { "Nats-Trace-Dest": own(victim) } })
    await send(h1, own(attacker), { header: { "Nats-Trace-Dest": "target.trace" } })
    await settled(found)
    assert.strictEqual(await facts(found, "HOSTS", own(victim)), 0)
    assert.strictEqual(await facts(found, "TARGET", "target.trace"), 0)
    await send(admin, "target.any", { header: { "Nats-Trace-Dest": "target.trace" } })
    await eventually("traced", async () => (await facts(found, "TARGET", "target.trace")) > 0)
  }))

  it.effect("learn where another receives its answers: no inbox crosses to the services", () => attack(async ({ h9, scheduler, victim, victims }) => {
    const seen = new Promise<Msg>((resolve) => scheduler.subscribe("beat.*", { max: 1, callback: (_, beat) => {
      beat.respond("go on")
      resolve(beat)
    } }))
    await scheduler.flush()
    await h9.request(`beat.${victim.hostId}`, "", { timeout: MS_MAX })
    const beat = await seen
    assert.notInclude(beat.reply, victims.inboxPrefix)
    assert.notInclude(beat.headers?.toString() ?? "", victims.inboxPrefix)
  }))
})
