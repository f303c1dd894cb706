import { Journal } from "@millrace/journal"
import { logLayer } from "@millrace/service"
import { type Cut, type StreamName, streamNames } from "@millrace/schemas"
import { Effect } from "effect"
import { connect } from "node:net"
import { type LogGiven, logDoor } from "./door.ts"
import { Trouble } from "./trouble.ts"

/** Runs an effect over the cell's log, with credentials that can read everything and write nothing. */
export const readingLog = <A, E, R>(given: LogGiven, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const door = yield* logDoor(given)
    yield* somebodyListens(door.servers)
    return yield* Effect.provide(effect, logLayer("reader", door))
  })

/** The last sequence of each stream, now. */
export const heads = (streams: ReadonlyArray<StreamName> = streamNames) =>
  Journal.use((journal) =>
    Effect.map(Effect.forEach(streams, (stream) => Effect.map(journal.head(stream), (head) => [stream, head] as const), { concurrency: 4 }), (all): Cut => Object.fromEntries(all)))

const knockMsMax = 3_000

/** A service waits for a log that is not there yet; whoever types a command wants to know at once. */
const somebodyListens = (servers: string): Effect.Effect<void, Trouble> =>
  Effect.raceAll(servers.split(",").map(knock)).pipe(
    Effect.timeoutOrElse({ duration: knockMsMax, orElse: () => Effect.fail(undefined) }),
    Effect.mapError(() => new Trouble({
      code: "log_unreachable",
      what: `nobody answers at ${servers}`,
      where: "the cell's log",
      remedy: "start a cell with: npm start   (or say where its log is with --nats-url)",
      ending: "unavailable"
    }))
  )

const knock = (server: string): Effect.Effect<void, unknown> =>
  Effect.callback((resume) => {
    const address = server.includes("://") ? server : `nats://${server}`
    if (!URL.canParse(address)) return resume(Effect.fail(address))
    const { hostname, port } = new URL(address)
    const socket = connect({ host: hostname.replace(/^\[|\]$/gu, ""), port: port === "" ? 4222 : Number(port) })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.once("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => socket.destroy())
  })
