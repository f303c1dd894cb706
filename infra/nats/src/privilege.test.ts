import { assert, it, layer } from "@effect/vitest"
import { pulseSubject, type ServiceName, services } from "@millrace/journal/admission"
import { kinds, streamNames, type StreamName, subjectsOf } from "@millrace/schemas"
import { jetstream, jetstreamManager } from "@nats-io/jetstream"
import type { NatsConnection } from "@nats-io/transport-node"
import { Effect } from "effect"
import type { UserName } from "./index.ts"
import { CellUnderTest } from "./testing/cell-under-test.ts"

const MS_MAX = 5_000
const names = Object.keys(services) as Array<ServiceName>
const everybody: ReadonlyArray<UserName> = [...names, "provisioner", "claims", "submitter"]

/** A subject that a stream holds, with something in the place of each wildcard. */
const aSubjectOf = (stream: StreamName) => (subjectsOf(kinds, stream)[0] as string).replaceAll("*", "x1")
const writes = (name: ServiceName): StreamName | undefined => (services[name] as { readonly writes?: StreamName }).writes
const reads = (name: ServiceName): ReadonlyArray<StreamName> => [...services[name].hears, ...(writes(name) === undefined ? [] : [writes(name) as StreamName])]

const answer = (from: NatsConnection, subject: string, body = "") =>
  from.request(subject, body, { timeout: MS_MAX }).then((message) => message.string(), String)
const isRefused = async (from: NatsConnection, subject: string) =>
  assert.match(await answer(from, subject), /Permissions Violation/, `${subject} must be refused`)

it("every stream has exactly one service that writes it, but for the hosts' own", () => {
  const written = names.map(writes).filter((stream) => stream !== undefined)
  assert.deepStrictEqual([...written, "HOSTS"].toSorted(), [...streamNames].toSorted())
})

layer(CellUnderTest.layer, { excludeTestServices: true })("each service", (it) => {
  for (const name of names) {
    it.effect(`${name} appends to its own stream, and to no other`, () =>
      Effect.gen(function*() {
        const connection = yield* (yield* CellUnderTest).as(name)
        const own = writes(name)
        for (const stream of streamNames) {
          const subject = aSubjectOf(stream)
          if (stream !== own) yield* Effect.promise(() => isRefused(connection, subject))
          else assert.strictEqual((yield* Effect.promise(() => jetstream(connection).publish(subject, "a fact"))).stream, stream)
        }
        const other = name === "access" ? "broker" : "access"
        yield* Effect.promise(() => isRefused(connection, pulseSubject(other)))
      }))

    it.effect(`${name} reads what it hears, and nothing else`, () =>
      Effect.gen(function*() {
        const { as, inCell } = yield* CellUnderTest
        const admin = yield* inCell("everything")
        const connection = yield* as(name)
        const manager = yield* Effect.promise(() => jetstreamManager(connection))
        for (const stream of streamNames) {
          if (!reads(name).includes(stream)) {
            for (const call of ["STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET", "CONSUMER.CREATE"]) yield* Effect.promise(() => isRefused(connection, `$JS.API.${call}.${stream}`))
            continue
          }
          const subject = aSubjectOf(stream)
          const { seq } = yield* Effect.promise(() => jetstream(admin).publish(subject, `fact on ${stream}`))
          assert.strictEqual((yield* Effect.promise(() => manager.streams.getMessage(stream, { seq })))?.string(), `fact on ${stream}`)
          assert.strictEqual((yield* Effect.promise(() => manager.direct.getMessage(stream, { last_by_subj: subject })))?.seq, seq)
          const ordered = yield* Effect.promise(() => jetstream(connection).consumers.get(stream, { opt_start_seq: seq, deliver_policy: "by_start_sequence" as never }))
          assert.strictEqual((yield* Effect.promise(() => ordered.next({ expires: MS_MAX })))?.seq, seq)
          const durable = { durable_name: `${name}-test`, filter_subject: subject, ack_policy: "explicit" as never }
          yield* Effect.promise(() => manager.consumers.add(stream, durable))
          const message = yield* Effect.promise(async () => (await jetstream(connection).consumers.get(stream, durable.durable_name)).next({ expires: MS_MAX }))
          assert.isTrue(yield* Effect.promise(async () => message?.ackAck()))
          yield* Effect.promise(() => manager.consumers.delete(stream, durable.durable_name))
        }
      }))
  }

  it.effect("nobody purges or deletes a stream or a message, and only provisioning creates or changes one", () =>
    Effect.gen(function*() {
      const { as } = yield* CellUnderTest
      for (const name of everybody) {
        const connection = yield* as(name)
        for (const stream of streamNames) {
          for (const call of ["PURGE", "DELETE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "PEER.REMOVE"]) yield* Effect.promise(() => isRefused(connection, `$JS.API.STREAM.${call}.${stream}`))
          if (name === "provisioner") continue
          for (const call of ["CREATE", "UPDATE"]) yield* Effect.promise(() => isRefused(connection, `$JS.API.STREAM.${call}.${stream}`))
        }
        yield* Effect.promise(() => isRefused(connection, "$JS.API.STREAM.CREATE.MINE"))
      }
      const provisioner = yield* as("provisioner")
      const manager = yield* Effect.promise(() => jetstreamManager(provisioner))
      const updated = yield* Effect.promise(() => manager.streams.update("GATEWAY", { description: "changed" }))
      assert.strictEqual(updated.config.description, "changed")
      for (const stream of streamNames) yield* Effect.promise(() => isRefused(provisioner, aSubjectOf(stream)))
    }))

  it.effect("hears its own inbox, and neither another's nor facts as they pass", () =>
    Effect.gen(function*() {
      const { as } = yield* CellUnderTest
      for (const name of everybody) {
        const connection = yield* as(name)
        for (const subject of [">", "_INBOX.>", "mill.>", "_INBOX_*.>", "$JS.>"]) {
          const refused = new Promise<string>((resolve) => connection.subscribe(subject, { callback: (error, message) => resolve(error === null ? `heard ${message.subject}` : String(error)) }))
          // The server refuses a subscription before it answers the ping behind it.
          const answered = yield* Effect.promise(() => Promise.race([refused, connection.flush().then(() => "may listen")]))
          assert.match(answered, /Permissions Violation/)
        }
      }
    }))

  it.effect("whoever admits may change the hosts' account, and no other", () =>
    Effect.gen(function*() {
      const { as, cell } = yield* CellUnderTest
      const claims = yield* as("claims")
      const lookup = (account: string) => answer(claims, `$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`)
      assert.match(yield* Effect.promise(() => lookup(cell.keys.hostsAccount)), /^ey/)
      assert.match(yield* Effect.promise(() => lookup(cell.keys.cellAccount)), /Permissions Violation/)
      for (const subject of ["$SYS.REQ.CLAIMS.UPDATE", `$SYS.REQ.ACCOUNT.${cell.keys.cellAccount}.CLAIMS.UPDATE`, "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.SERVER.PING"]) {
        yield* Effect.promise(() => isRefused(claims, subject))
      }
    }))
})
