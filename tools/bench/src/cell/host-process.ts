import { deriveId } from "@millrace/decider"
import { HOST_API_PREFIX, hostConsumer, hostCredentials, newSeed, signingKey } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import { type FactId, HostId, type MillFact, type Principal } from "@millrace/schemas"
import { Cause, Effect, References, Scope, Semaphore } from "effect"
import { type Order, sharedNowMs, type Word } from "./words.ts"

/**
 * Many hosts in one process: each with its own key, its own connection and its own consumer, hearing what is
 * placed on it by the journal's own reactor, as the host service does, and running nothing.
 */
const [url = ""] = process.argv.slice(2)
const connectingMax = 32
const reportEveryMs = 20

const seeds = new Map<string, string>()
const heard = { sequences: [] as Array<number>, atMs: [] as Array<number> }
const say = (word: Word): void => void process.send?.(word)

const report = (): void => {
  if (heard.sequences.length === 0) return
  say({ what: "heard", sequences: heard.sequences, atMs: heard.atMs })
  heard.sequences = []
  heard.atMs = []
}

const make = (numbers: ReadonlyArray<number>): void =>
  say({
    what: "made",
    hosts: numbers.map((number) => {
      const hostId = HostId.make(`hst_01K9${String(number).padStart(22, "0")}`)
      const seed = newSeed("user")
      seeds.set(hostId, seed)
      return { hostId, publicKey: signingKey(seed).publicKey }
    })
  })

const joined = (hostId: HostId): MillFact => ({
  _tag: "HostJoined",
  hostId,
  bootId: `boot-${hostId}`,
  agentVersion: "bench",
  dialect: 2,
  capabilities: { resources: { cpuMilli: 4000, memoryMib: 4000, diskMib: 0, gpus: 0 }, gpus: [], runtimes: ["noop"], trusts: ["own"], labels: {} }
})

/** Enters, says that it is here, and hears from then on. */
const live = Effect.fnUntraced(function*(hostId: HostId, jwt: string) {
  const journal = yield* openJournal({
    nats: { servers: url, name: hostId, ...hostCredentials(seeds.get(hostId) ?? "", () => jwt) },
    apiPrefix: HOST_API_PREFIX,
    host: { epoch: 1 }
  })
  const id = deriveId<FactId>("fct", Date.now(), hostId, "joined")
  yield* journal.append({
    subject: { kind: "host", scope: hostId },
    actor: `host:${hostId}` as Principal,
    happenedAtMs: Date.now(),
    facts: [{ id, partOf: id, event: joined(hostId) }]
  }, { last: "subject", sequence: 0 })
  yield* Effect.forkScoped(
    journal.react({ stream: "SCHEDULER", durable: hostConsumer(hostId), filter: `mill.placement.${hostId}` }, ({ place }) =>
      Effect.sync(() => {
        heard.sequences.push(place.sequence)
        heard.atMs.push(sharedNowMs())
      })).pipe(Effect.catchCause((cause) => Effect.sync(() => say({ what: "failed", detail: `${hostId} hears no more: ${Cause.pretty(cause)}` }))))
  )
  say({ what: "joined" })
})

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const scope = yield* Effect.scope
  const connecting = yield* Semaphore.make(connectingMax)
  const enter = (hostId: HostId, jwt: string) =>
    connecting.withPermits(1)(live(hostId, jwt)).pipe(
      Effect.catchCause((cause) => Effect.sync(() => say({ what: "failed", detail: `${hostId} cannot enter: ${Cause.pretty(cause)}` }))),
      Effect.provideService(Scope.Scope, scope),
      // A server that restarts is news to every host at once: said by the figures, not by thousands of lines.
      Effect.provideService(References.MinimumLogLevel, "Fatal")
    )
  process.on("message", (order: Order) => {
    if (order.what === "make") make(order.numbers)
    else Effect.runFork(enter(order.hostId, order.jwt))
  })
  // Whoever started it is gone: then so are the hosts.
  process.on("disconnect", () => process.exit(0))
  setInterval(report, reportEveryMs)
  say({ what: "ready" })
  return yield* Effect.never
})))
