import { deriveId } from "@millrace/decider"
import { startCell } from "@millrace/infra-nats"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Checkpoints, CrashPoints, type JournalShape, readable } from "@millrace/journal"
import { Admission, credentialsIn, HOST_API_PREFIX, hostCredentials, newSeed, signingKey } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import { picoPerDollar } from "@millrace/pricing"
import { Database } from "@millrace/readmodel"
import type { FactId, MillFact, Principal, Subject } from "@millrace/schemas"
import { digestOfToken, logLayer, warrantPair } from "@millrace/service"
import { Context, Deferred, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { MeteringService } from "../service.ts"
import { acme, host } from "./cell.ts"

export const ownerToken = "mill_the-owner-of-this-test"
export const agentToken = "mill_an-agent-of-this-test"
const ada = "user:ada" as Principal

/** A running metering, which can be killed between any two effects and started again. */
export interface Running {
  readonly url: string
  /** Whether it came to the point where it was to die; it says and does nothing any more. */
  readonly died: Effect.Effect<void>
  readonly stop: Effect.Effect<void>
}

type Teller = "access" | "gateway" | "scheduler" | "host"

/** A real nats-server with the cell's permissions, a real Postgres, one host of its own, and metering in front of them. */
export class World extends Context.Service<World, {
  readonly start: (dieAt?: string) => Effect.Effect<Running>
  readonly as: (teller: Teller) => JournalShape
  /** The log as metering may use it. */
  readonly log: ReturnType<typeof logLayer>
  readonly database: Layer.Layer<Database>
}>()("millrace/metering/test/World") {
  static readonly layer: Layer.Layer<World> = Layer.effect(this, Effect.suspend(() => makeWorld.pipe(Effect.orDie)))
}

const makeWorld = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-metering-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const cell = yield* startCell({ storeDir: join(folder, "store"), keysDir: join(folder, "keys") })
  const database = Layer.orDie(Database.layer({ url: Redacted.make(yield* testDatabase()) }))
  const scope = yield* Effect.scope
  const keys = yield* Layer.build(warrantPair)
  const log = logLayer("metering", { servers: cell.urls[0]!, credentials: cell.keys.folder })
  const journals = new Map<Teller, JournalShape>()
  for (const [service, writes] of [["access", "ACCESS"], ["gateway", "GATEWAY"], ["scheduler", "SCHEDULER"]] as const) {
    journals.set(service, yield* openJournal({
      nats: { servers: cell.urls, name: service, ...credentialsIn(readFileSync(cell.keys.credsFile(service), "utf8")) },
      streams: [writes, "METERING"],
      writes: [writes]
    }))
  }
  const seed = newSeed("user")
  const { jwt } = yield* Admission.use(({ admitHost }) => admitHost({ hostId: host("a"), publicKey: signingKey(seed).publicKey })).pipe(
    Effect.provide(Admission.layer({ servers: [...cell.urls], creds: cell.keys.creds("access"), keys: cell.keys.admission }))
  )
  journals.set("host", yield* openJournal({
    nats: { servers: cell.urls, name: host("a"), ...hostCredentials(seed, () => jwt) },
    apiPrefix: HOST_API_PREFIX,
    host: { epoch: 1 }
  }))

  const start = (dieAt?: string) =>
    Effect.orDie(Effect.gen(function*() {
      const port = yield* freePort
      const own = yield* Scope.fork(scope)
      const died = yield* Deferred.make<void>()
      const points = Layer.succeed(CrashPoints, (point: string) =>
        point === dieAt ? Effect.andThen(Deferred.succeed(died, undefined), Effect.never) : Effect.void)
      yield* Layer.buildWithScope(MeteringService({ host: "127.0.0.1", port, workspaceLimitPico: 100n * picoPerDollar, checkpointEvery: 3 }).pipe(
        Layer.provide([log, Checkpoints.layerFolder(join(folder, "checkpoints")), database, Layer.succeedContext(keys)]),
        Layer.provide(points)
      ), own)
      return { url: `http://127.0.0.1:${port}`, died: Deferred.await(died), stop: Scope.close(own, Exit.void) }
    }))

  return { start, as: (teller: Teller) => journals.get(teller)!, log, database }
})

let told = 0

/** Says a fact behind whatever lies on its subject, as that teller would; gives its id. */
export const say = Effect.fnUntraced(function*(teller: Teller, subject: Subject, event: MillFact) {
  const journal = (yield* World).as(teller)
  const atMs = Date.now()
  const id = deriveId<FactId>("fct", atMs, "test", ++told)
  const sequence = (yield* Effect.orDie(journal.last(subject)))?.place.sequence ?? 0
  yield* Effect.orDie(journal.append({ subject, actor: "service:test" as Principal, happenedAtMs: atMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence }))
  return id
})

/** A workspace with an owner and an agent without a grant, as access would open it. */
export const openWorkspace = Effect.gen(function*() {
  const subject = { kind: "principal", scope: acme }
  const credential = (principal: Principal, token: string): MillFact => ({ _tag: "CredentialIssued", workspace: acme, principal, credentialDigest: digestOfToken(token), expiresAtMs: Date.now() + 600_000, issuedBy: ada })
  yield* say("access", subject, { _tag: "WorkspaceOpened", workspace: acme, organisation: "acme", owner: ada })
  yield* say("access", subject, { _tag: "RoleBound", workspace: acme, principal: ada, role: "owner", boundBy: ada })
  yield* say("access", subject, credential(ada, ownerToken))
  yield* say("access", subject, credential("agent:idle" as Principal, agentToken))
})

/** Waits for metering's first fact that fits, at most 20 s. */
export const metered = <A extends MillFact>(fits: (fact: MillFact) => fact is A): Effect.Effect<A, never, World> =>
  Effect.gen(function*() {
    const journal = (yield* World).as("gateway")
    return yield* Effect.orDie(Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("METERING", { after: 0 })
      while (true) {
        const found = (yield* reader.take).flatMap((commit) => readable(commit).facts).map(({ event }) => event).find(fits)
        if (found !== undefined) return found
      }
    })).pipe(Effect.timeout("20 seconds")))
  })

/** All that metering has said by now. */
export const meteredSoFar = Effect.gen(function*() {
  const journal = (yield* World).as("gateway")
  return yield* Effect.orDie(Effect.scoped(Effect.gen(function*() {
    const head = yield* journal.head("METERING")
    const facts: Array<MillFact> = []
    const reader = yield* journal.read("METERING", { after: 0 })
    for (let sequence = 0; sequence < head;) {
      for (const commit of yield* reader.take) {
        facts.push(...readable(commit).facts.map(({ event }) => event))
        sequence = commit.place.sequence
      }
    }
    return facts
  })))
})

