import { encodeCommit, type JournalShape } from "@millrace/journal"
import { Publisher } from "@millrace/journal/jetstream"
import type { NatsConnection } from "@nats-io/transport-node"
import { Deferred, Effect } from "effect"
import { rounded } from "../figures.ts"
import { placementsOn } from "../placement.ts"
import { appendMany, appendOne, bareStream, ready, receive } from "./bare.ts"
import { commitOf, host, submitted } from "./facts.ts"
import { beside, type Rate, rateOf, turnByTurn } from "./measured.ts"

/** How far a line runs ahead of its answers; the bare publisher is given as much. */
const window = 511

export interface Log {
  readonly connection: NatsConnection
  readonly journal: JournalShape
}

const factsOf = ({ cpuUsEach, perS }: Rate, facts: number): Rate => ({ perS: rounded(perS * facts), cpuUsEach: rounded(cpuUsEach / facts) })

/** One in flight by compare-and-append; pipelined by a line, with 1, 10 and 100 facts a commit. */
export const measureAppends = Effect.fnUntraced(function*({ connection, journal }: Log, { one, many }: { readonly one: number; readonly many: number }) {
  yield* bareStream(connection)
  const publisher = yield* Effect.acquireRelease(Effect.sync(() => new Publisher(connection, { windowMax: window })), (opened) => Effect.sync(() => opened.close()))
  const expectation = { last: "subject", sequence: 0 } as const
  const sample = ready(encodeCommit(commitOf(submitted("0")), expectation, 1))
  const turns = Effect.fnUntraced(function*(round: string, count: number) {
    const commits = Array.from({ length: count }, (_, number) => commitOf(submitted(`${round}${number}`)))
    return yield* turnByTurn(count, { bare: () => appendOne(publisher, sample), ours: (number) => Effect.orDie(journal.append(commits[number]!, expectation)) })
  })
  yield* turns("W", Math.ceil(one / 5))
  const oneInFlight = yield* turns("", one)

  const line = yield* journal.line("SCHEDULER", yield* journal.head("SCHEDULER"))
  yield* line.send(placementsOn(host("A"), 0)).outcome
  const pipelined = Effect.fnUntraced(function*(facts: number, count: number) {
    const message = ready(encodeCommit(placementsOn(host("A"), 0, facts), expectation, 1))
    const bare = yield* rateOf(count, appendMany(publisher, message, count))
    const commits = Array.from({ length: count }, (_, number) => placementsOn(host("A"), number, facts))
    const ours = yield* rateOf(count, Effect.suspend(() =>
      Effect.forEach(commits.map((commit) => line.send(commit).outcome), (outcome) => outcome, { discard: true })))
    return { ...beside(factsOf(bare, facts), factsOf(ours, facts)), bytes: message.body.length + message.headers.length }
  })
  return {
    oneInFlight: { ...oneInFlight, bytes: sample.body.length + sample.headers.length },
    pipelined: yield* pipelined(1, many),
    factsOf10: yield* pipelined(10, many / 10),
    factsOf100: yield* pipelined(100, many / 100)
  }
})

/** Reads and reacts to what the line has written, each commit decoded, beside bare consumers of the same messages. */
export const measureReads = Effect.fnUntraced(function*({ connection, journal }: Log, many: number) {
  const bareRead = yield* rateOf(many, receive(connection, "SCHEDULER", many))
  const ourRead = yield* rateOf(many, Effect.scoped(Effect.gen(function*() {
    const reader = yield* journal.read("SCHEDULER", { after: 0, batchMax: 1_000 })
    for (let count = 0; count < many;) count += (yield* reader.take).length
  })))
  const bareReact = yield* rateOf(many, receive(connection, "SCHEDULER", many, { ack: true }))
  const done = yield* Deferred.make<void>()
  let reacted = 0
  const counted = () => Effect.sync(() => {
    reacted += 1
    if (reacted === many) Deferred.doneUnsafe(done, Effect.void)
  })
  const ourReact = yield* rateOf(many, Effect.raceFirst(journal.react({ stream: "SCHEDULER", durable: "bench-reactor" }, counted), Deferred.await(done)))
  return { read: beside(bareRead, ourRead), reactor: beside(bareReact, ourReact) }
})
