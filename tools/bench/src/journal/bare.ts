import type { Message } from "@millrace/journal"
import type { Publisher } from "@millrace/journal/jetstream"
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream"
import type { NatsConnection } from "@nats-io/transport-node"
import { Effect } from "effect"
import { headerBytes } from "../jobs/floor.ts"

/** The floor: JetStream with the same bytes and nothing of ours around them. */

export const bareSubject = "bare.facts"

/** A stream like ours, for appends that expect nothing. */
export const bareStream = (connection: NatsConnection): Effect.Effect<void> =>
  Effect.promise(async () => {
    const manager = await jetstreamManager(connection)
    await manager.streams.add({ name: "BARE", subjects: [bareSubject], storage: StorageType.File, deny_delete: true, deny_purge: true, allow_direct: true })
  })

/** A message as it goes over the wire, made ready before anything is measured. */
export const ready = ({ body, headers }: Message) => ({ body, headers: headerBytes(headers.map(([name, value]) => `${name}: ${value}`)) })

type Ready = ReturnType<typeof ready>

/** Appends once and waits for the answer. */
export const appendOne = (publisher: Publisher, { body, headers }: Ready): Effect.Effect<void> =>
  Effect.callback((resume) => publisher.send(bareSubject, headers, body, (answer) =>
    resume(answer._tag === "Stored" ? Effect.void : Effect.die(new Error(JSON.stringify(answer))))))

/** Appends many, as many at once as the publisher's window holds. */
export const appendMany = (publisher: Publisher, { body, headers }: Ready, count: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let stored = 0
    for (let number = 0; number < count; number += 1) {
      publisher.send(bareSubject, headers, body, (answer) => {
        if (answer._tag !== "Stored") return resume(Effect.die(new Error(JSON.stringify(answer))))
        stored += 1
        if (stored === count) resume(Effect.void)
      })
    }
  })

/** Receives the first messages of a stream and looks into none; with `ack`, acknowledges each. */
export const receive = (connection: NatsConnection, stream: string, count: number, { ack = false } = {}): Effect.Effect<void> =>
  Effect.promise(async () => {
    const manager = await jetstreamManager(connection)
    const { name } = await manager.consumers.add(stream, ack
      ? { durable_name: "bare", ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All, max_ack_pending: 1_000 }
      : { ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.All, mem_storage: true })
    const consumer = await jetstream(connection).consumers.get(stream, name)
    let received = 0
    const all = Promise.withResolvers<void>()
    const messages = await consumer.consume({
      max_messages: 1_000,
      callback: (message) => {
        if (ack) message.ack()
        received += 1
        if (received === count) all.resolve()
      }
    })
    await all.promise
    messages.stop()
  })
