import { deriveId } from "@millrace/decider"
import { startCell } from "@millrace/infra-nats"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Checkpoints, type JournalShape, readable } from "@millrace/journal"
import { Admission, credentialsIn, HOST_API_PREFIX, hostCredentials, newSeed, signingKey } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import { Database } from "@millrace/readmodel"
import { type FactId, type HostId, type MillFact, type Principal, type StreamName, streamNames } from "@millrace/schemas"
import { beatsLayer, digestOfToken, logLayer, warrantPair } from "@millrace/service"
import { Clock, Context, Effect, Layer, Redacted, Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Rounds } from "../api/rounds.ts"
import { SchedulerReads, schedulerService } from "../service.ts"
import { subjectOf, workspace } from "./cell.ts"

export const ownerToken = "mill_the-owner-of-this-test"
export const strangerToken = "mill_the-owner-of-another-workspace"
export const agentToken = "mill_an-agent-of-this-test"

/** A real nats-server with the cell's permissions, a real Postgres, and the scheduler deciding and answering. */
export class ReadsWorld extends Context.Service<ReadsWorld, {
  readonly url: string
  /** Says facts as whoever writes their stream, one commit each. */
  readonly say: (...events: ReadonlyArray<MillFact>) => Effect.Effect<void>
  /** Waits for the first fact of the scheduler's that fits, at most 20 s. */
  readonly decided: <A extends MillFact>(fits: (fact: MillFact) => fact is A) => Effect.Effect<A>
  /** Where every stream ends now, as a query carries it. */
  readonly cut: Effect.Effect<string>
  readonly log: ReturnType<typeof logLayer>
  readonly database: Layer.Layer<Database>
  /** A scheduler on the same log whose Postgres is not there. It takes over from the one before. */
  readonly startWithoutPostgres: Effect.Effect<string>
}>()("millrace/scheduler/test/ReadsWorld") {
  static readonly layer: Layer.Layer<ReadsWorld> = Layer.effect(this, Effect.suspend(() => makeWorld.pipe(Effect.orDie)))
}

/** Where the scheduler answers, with a database that is there or is not. */
export const startScheduler = Effect.fnUntraced(function*({ database, folder, keys, servers }: {
  readonly servers: string
  readonly keys: string
  readonly folder: string
  readonly database: Layer.Layer<Database>
}) {
  const port = yield* freePort
  const clock = yield* Clock.Clock
  const log = { servers, credentials: keys }
  const rounds = new Rounds(() => clock.currentTimeMillisUnsafe())
  const pair = yield* Layer.build(warrantPair)
  yield* Layer.build(
    Layer.merge(
      schedulerService({ leaseMs: 600_000, watch: () => rounds.passed() }).pipe(Layer.provide([beatsLayer("scheduler", log), Checkpoints.layerFolder(join(folder, "checkpoints"))])),
      SchedulerReads({ host: "127.0.0.1", port, rounds }).pipe(Layer.provide(database))
    ).pipe(Layer.provide([logLayer("scheduler", log), Layer.succeedContext(pair)]))
  )
  return `http://127.0.0.1:${port}`
})

const makeWorld = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-scheduler-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const { keys, urls } = yield* startCell({ storeDir: join(folder, "store"), keysDir: join(folder, "keys") })
  const database = Layer.orDie(Database.layer({ url: Redacted.make(yield* testDatabase()) }))
  const journals = new Map<string, JournalShape>()
  for (const [service, writes] of [["access", "ACCESS"], ["gateway", "GATEWAY"], ["broker", "BROKER"]] as const) {
    journals.set(writes, yield* openJournal({
      nats: { servers: urls, name: service, ...credentialsIn(readFileSync(keys.credsFile(service), "utf8")) },
      streams: service === "gateway" ? [...streamNames] : [writes, "SCHEDULER"],
      writes: [writes]
    }))
  }
  const scope = yield* Effect.scope
  /** Every host writes over a connection of its own. */
  const journalOf = Effect.fnUntraced(function*(hostId: HostId) {
    const known = journals.get(hostId)
    if (known !== undefined) return known
    const seed = newSeed("user")
    const { jwt } = yield* Admission.use(({ admitHost }) => admitHost({ hostId, publicKey: signingKey(seed).publicKey })).pipe(
      Effect.provide(Admission.layer({ servers: [...urls], creds: keys.creds("access"), keys: keys.admission }))
    )
    const journal = yield* openJournal({ nats: { servers: urls, name: hostId, ...hostCredentials(seed, () => jwt) }, apiPrefix: HOST_API_PREFIX, host: { epoch: 1 } })
      .pipe(Effect.provideService(Scope.Scope, scope))
    journals.set(hostId, journal)
    return journal
  })
  let told = 0
  const say = Effect.fnUntraced(function*(...events: ReadonlyArray<MillFact>) {
    for (const event of events) {
      const subject = subjectOf(event)
      const stream = streamOf(subject.kind)
      const journal = stream === "HOSTS" ? yield* Effect.orDie(journalOf(subject.scope as HostId)) : journals.get(stream)!
      const atMs = Date.now()
      const id = deriveId<FactId>("fct", atMs, "test", ++told)
      const commit = { subject, actor: "service:test" as Principal, happenedAtMs: atMs, facts: [{ id, partOf: id, event }] as const }
      const sequence = stream === "ACCESS" ? yield* Effect.orDie(journal.head(stream)) : (yield* Effect.orDie(journal.last(subject)))?.place.sequence ?? 0
      yield* Effect.orDie(journal.append(commit, { last: stream === "ACCESS" ? "stream" : "subject", sequence }))
    }
  })
  const decided = <A extends MillFact>(fits: (fact: MillFact) => fact is A): Effect.Effect<A> =>
    Effect.orDie(Effect.scoped(Effect.gen(function*() {
      const reader = yield* journals.get("GATEWAY")!.read("SCHEDULER", { after: 0 })
      while (true) {
        const found = (yield* reader.take).flatMap((commit) => readable(commit).facts).map(({ event }) => event).find(fits)
        if (found !== undefined) return found
      }
    })).pipe(Effect.timeout("20 seconds")))
  const cut = Effect.orDie(Effect.map(
    Effect.forEach(["GATEWAY", "SCHEDULER", "HOSTS", "ACCESS", "BROKER"] as const, (stream) => Effect.map(journals.get("GATEWAY")!.head(stream), (head) => `${stream}=${head}`)),
    (heads) => heads.join(",")
  ))
  yield* openWorkspaces(say)
  const url = yield* startScheduler({ servers: urls[0]!, keys: keys.folder, folder, database })
  const startWithoutPostgres = Effect.orDie(Effect.flatMap(freePort, (nobody) =>
    startScheduler({ servers: urls[0]!, keys: keys.folder, folder, database: Database.layerLate({ url: Redacted.make(`postgres://nobody@127.0.0.1:${nobody}/none`), connectMsMax: 500, acquireMsMax: 1_000 }) }))
    .pipe(Effect.provideService(Scope.Scope, scope)))
  return { url, say, decided, cut, startWithoutPostgres, log: logLayer("scheduler", { servers: urls[0]!, credentials: keys.folder }), database }
})

const streamOf = (kind: string): StreamName =>
  kind === "job" ? "GATEWAY" : kind === "host" || kind === "attempt" ? "HOSTS" : kind === "machine" ? "BROKER" : "ACCESS"

const openWorkspaces = (say: (...events: ReadonlyArray<MillFact>) => Effect.Effect<void>) => {
  const ada = "user:ada" as Principal
  const eve = "user:eve" as Principal
  const opened = (name: string, owner: Principal, token: string): ReadonlyArray<MillFact> => [
    { _tag: "WorkspaceOpened", workspace: workspace(name), organisation: name, owner },
    { _tag: "RoleBound", workspace: workspace(name), principal: owner, role: "owner", boundBy: owner },
    credential(name, owner, token)
  ]
  const credential = (name: string, principal: Principal, token: string): MillFact =>
    ({ _tag: "CredentialIssued", workspace: workspace(name), principal, credentialDigest: digestOfToken(token), expiresAtMs: Date.now() + 600_000, issuedBy: ada })
  return say(...opened("acme", ada, ownerToken), credential("acme", "agent:none" as Principal, agentToken), ...opened("other", eve, strangerToken))
}
