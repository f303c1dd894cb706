import { startServer } from "@millrace/infra-nats"
import { connectNats, Publisher } from "@millrace/journal/jetstream"
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream"
import type { NatsConnection } from "@nats-io/transport-node"
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Chain, measure, type Measured, type Rounds } from "./load.ts"

/** The three links of the bare chain, each a process of its own: submit, place with an expectation, start. */
export const links = ["JOB", "PLACEMENT", "START"] as const
const body = new Uint8Array(250)

/** A header block as it goes over the wire, or none. */
export const headerBytes = (lines: ReadonlyArray<string>): Uint8Array =>
  lines.length === 0 ? new Uint8Array(0) : new TextEncoder().encode(`NATS/1.0\r\n${lines.join("\r\n")}\r\n\r\n`)

/** Appends with the raw publisher and succeeds once the log holds it. */
export const appending = (publisher: Publisher) => (subject: string, headers: ReadonlyArray<string>): Promise<void> =>
  new Promise((resolve, reject) =>
    publisher.send(subject, headerBytes(headers), body, (answer) =>
      answer._tag === "Stored" ? resolve() : reject(new Error(JSON.stringify(answer)))))

/** Hears each message of a stream from now on, with no acknowledgement. */
export const hearing = async (connection: NatsConnection, stream: string, heard: (subject: string) => void): Promise<void> => {
  const manager = await jetstreamManager(connection)
  const { name } = await manager.consumers.add(stream, { ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.New, mem_storage: true })
  const consumer = await jetstream(connection).consumers.get(stream, name)
  await consumer.consume({ max_messages: 1000, callback: (message) => heard(message.subject) })
}

/**
 * The floor: the same chain of three processes with a raw publisher and empty deciders, on a server of the
 * same build that syncs every append.
 */
export const floor = (folder: string, rounds: Rounds, say: (line: string) => void): Effect.Effect<Measured, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* startServer({ storeDir: folder })
    const connection = yield* connectNats({ servers: server.url, name: "bench" })
    yield* Effect.promise(async () => {
      const manager = await jetstreamManager(connection)
      for (const name of links) {
        await manager.streams.add({ name, subjects: [`${name.toLowerCase()}.*`], storage: StorageType.File, deny_delete: true, deny_purge: true, allow_direct: true })
      }
    })
    for (const link of ["PLACEMENT", "START"]) yield* child(link, server.url)
    const publisher = yield* Effect.acquireRelease(Effect.sync(() => new Publisher(connection, { windowMax: 4096 })), (opened) => Effect.sync(() => opened.close()))
    const append = appending(publisher)
    const listeners: Array<(number: number) => void> = []
    yield* Effect.promise(() => hearing(connection, "START", (subject) => {
      const number = Number(subject.slice(subject.indexOf(".") + 1))
      for (const listener of listeners) listener(number)
    }))
    const chain: Chain = {
      submit: (number) => append(`job.${number}`, ["Nats-Expected-Last-Subject-Sequence: 0"]),
      onStart: (heard) => void listeners.push(heard),
      onEnd: (heard) => void listeners.push(heard)
    }
    return yield* Effect.promise(() => measure(chain, rounds, say))
  })

const child = (link: string, url: string): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ChildProcess>((resume) => {
      const started = spawn(process.execPath, [fileURLToPath(new URL("./floor-link.ts", import.meta.url)), link, url], { stdio: ["ignore", "pipe", "inherit"] })
      started.stdout!.once("data", () => resume(Effect.succeed(started)))
    }),
    (started) => Effect.sync(() => void started.kill("SIGKILL"))
  )
