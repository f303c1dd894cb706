import { deriveId } from "@millrace/decider"
import { startCell } from "@millrace/infra-nats"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Checkpoints, type Commit, CrashPoints, type JournalShape, type NewFact, readable, type StoredFact } from "@millrace/journal"
import { Admission, credentialsIn, type ServiceName } from "@millrace/journal/admission"
import { openJournal } from "@millrace/journal/jetstream"
import { Database } from "@millrace/readmodel"
import { type AskId, decodeFact, type Digest, type FactId, type HostId, type MillFact, type Principal, type StreamName, type Subject, type WorkspaceName } from "@millrace/schemas"
import { digestOfToken, logLayer, WarrantSigner, warrantPair, WarrantVerifier } from "@millrace/service"
import { Context, Deferred, Effect, Exit, Latch, Layer, Redacted, Result, Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { AccessService } from "../service.ts"

export const acme = "acme" as WorkspaceName
export const ada = "user:ada" as Principal
export const ownerToken = "mill_the-owner-of-this-test"
const owner = { digest: digestOfToken(ownerToken), principal: ada, workspace: acme }

/** A running access, which can be killed between any two effects and started again. */
export interface Running {
  readonly url: string
  /** Whether it came to the point where it was to die; it says and does nothing any more. */
  readonly died: Effect.Effect<void>
  /** Waits until it has passed a point between two effects. */
  readonly passes: (point: string) => Effect.Effect<void>
  readonly stop: Effect.Effect<void>
}

export interface WorldShape {
  /** The log as another service speaks and hears there. */
  readonly as: (service: ServiceName) => JournalShape
  readonly start: (dieAt?: string) => Effect.Effect<Running>
  /** The journal's layer of a service, with its pulse. */
  readonly logOf: (service: ServiceName) => ReturnType<typeof logLayer>
  /** Waits until what runs under grants has been kept with all that the scheduler has said by now. */
  readonly keptPlacements: Effect.Effect<void>
  readonly signer: WarrantSigner["Service"]
  readonly verifier: WarrantVerifier["Service"]
}

/** A real nats-server with the cell's permissions, a real Postgres, and access in front of them. */
export class World extends Context.Service<World, WorldShape>()("millrace/access/test/World") {
  static readonly layer: Layer.Layer<World> = Layer.effect(this, Effect.suspend(() => Effect.orDie(makeWorld)))
}

const makeWorld = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-access-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const cell = yield* startCell({ storeDir: join(folder, "store"), keysDir: join(folder, "keys") })
  const url = cell.urls[0]!
  const database = Redacted.make(yield* testDatabase())
  const scope = yield* Effect.scope
  const keys = yield* Layer.build(warrantPair)
  const logOf = (service: ServiceName) => logLayer(service, { servers: url, credentials: cell.keys.folder })
  const admission = Admission.layer({ servers: [url], creds: cell.keys.creds("access"), keys: cell.keys.admission })
  const checkpoints = Checkpoints.layerFolder(join(folder, "checkpoints"))
  const journals = new Map<ServiceName, JournalShape>()
  for (const [service, writes] of [["gateway", "GATEWAY"], ["scheduler", "SCHEDULER"], ["broker", "BROKER"], ["metering", "METERING"]] as const) {
    journals.set(service, yield* openJournal({
      nats: { servers: cell.urls, name: service, ...credentialsIn(readFileSync(cell.keys.credsFile(service), "utf8")) },
      streams: [writes, "ACCESS"],
      writes: [writes]
    }))
  }

  const start = (dieAt?: string) =>
    Effect.orDie(Effect.gen(function*() {
      const port = yield* freePort
      const own = yield* Scope.fork(scope)
      const died = yield* Deferred.make<void>()
      const passed = new Set<string>()
      const moved = yield* Latch.make(false)
      const passes = (point: string): Effect.Effect<void> =>
        Effect.suspend(() => {
          if (passed.has(point)) return Effect.void
          moved.closeUnsafe()
          return Effect.andThen(moved.await, passes(point))
        })
      const points = Layer.succeed(CrashPoints, (point: string) =>
        Effect.suspend(() => {
          passed.add(point)
          moved.openUnsafe()
          return point === dieAt ? Effect.andThen(Deferred.succeed(died, undefined), Effect.never) : Effect.void
        }))
      yield* Layer.buildWithScope(AccessService({ host: "127.0.0.1", port, open: [], owner, checkpointEvery: 1 }).pipe(
        Layer.provide([logOf("access"), admission, checkpoints, Database.layer({ url: database }), Layer.succeedContext(keys)]),
        Layer.provide(points)
      ), own)
      return { url: `http://127.0.0.1:${port}`, died: Deferred.await(died), passes: (point: string) => Effect.orDie(Effect.timeout(passes(point), "20 seconds")), stop: Scope.close(own, Exit.void) }
    }))

  const keptPlacements = Effect.gen(function*() {
    const head = yield* journals.get("scheduler")!.head("SCHEDULER")
    const { load } = yield* Checkpoints
    while (((yield* load("access.placements"))?.saw["SCHEDULER"] ?? 0) < head) yield* Effect.sleep("10 millis")
  }).pipe(Effect.timeout("20 seconds"), Effect.orDie, Effect.provide(checkpoints))

  const world: WorldShape = {
    as: (service) => journals.get(service)!,
    keptPlacements,
    start,
    logOf,
    signer: Context.get(keys, WarrantSigner),
    verifier: Context.get(keys, WarrantVerifier)
  }
  return world
})

let told = 0

/** Says a fact behind whatever lies on its subject, as that service would. */
export const say = Effect.fnUntraced(function*(service: ServiceName, subject: Subject, event: MillFact) {
  const journal = (yield* World).as(service)
  const atMs = Date.now()
  const id = deriveId<FactId>("fct", atMs, "test", ++told)
  const commit: Commit = { subject, actor: "service:test" as Principal, happenedAtMs: atMs, facts: [{ id, partOf: id, event } satisfies NewFact] }
  yield* Effect.gen(function*() {
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    yield* journal.append(commit, { last: "subject", sequence })
  }).pipe(Effect.retry({ times: 20 }), Effect.orDie)
  return id
})

export const newAskId = (): AskId => deriveId<AskId>("ask", Date.now(), "test", ++told)

/** An ask as the gateway writes it down. */
export const askIs = <A extends MillFact["_tag"]>(tag: A, terms: object, askedBy: Principal = ada, askId = newAskId()) => ({
  ...(factIn(tag, { askId, workspace: acme, askedBy, decision: { rule: "test", view: {} }, ...terms }) as Extract<MillFact, { readonly _tag: A }>)
})

/** A fact from its wire form, so that it is one that could have been read. */
export const factIn = (tag: string, body: object): MillFact => {
  const decoded = decodeFact(tag, 1, body as Record<string, unknown>)
  if (Result.isFailure(decoded)) throw new Error(`${tag}: ${JSON.stringify(decoded.failure)}`)
  return decoded.success
}

/** All that lies in a stream by now, in order. */
export const factsIn = Effect.fnUntraced(function*(stream: StreamName) {
  const journal = (yield* World).as("gateway")
  return yield* Effect.orDie(Effect.scoped(Effect.gen(function*() {
    const head = yield* journal.head(stream)
    const facts: Array<Omit<StoredFact, "event"> & { readonly event: MillFact }> = []
    const reader = yield* journal.read(stream, { after: 0 })
    for (let sequence = 0; sequence < head;) {
      for (const commit of yield* reader.take) {
        facts.push(...readable(commit).facts)
        sequence = commit.place.sequence
      }
    }
    return facts
  })))
})

/** Waits for the first fact of access that fits, at most 20 s. */
export const heard = <A extends MillFact>(fits: (fact: MillFact) => fact is A): Effect.Effect<A, never, World> =>
  Effect.gen(function*() {
    const journal = (yield* World).as("gateway")
    return yield* Effect.orDie(Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("ACCESS", { after: 0 })
      while (true) {
        const found = (yield* reader.take).flatMap((commit) => readable(commit).facts).map(({ event }) => event).find(fits)
        if (found !== undefined) return found
      }
    })).pipe(Effect.timeout("20 seconds")))
  })

export const answerTo = (askId: AskId): Effect.Effect<MillFact & { readonly answers?: AskId }, never, World> =>
  heard((fact): fact is MillFact & { readonly answers?: AskId } => "answers" in fact && fact.answers === askId)

/** Asks through the gateway's stream and waits for the answer. */
export const ask = Effect.fnUntraced(function*<A extends MillFact & { readonly askId: AskId }>(asked: A) {
  yield* say("gateway", { kind: "ask", scope: acme }, asked)
  return yield* answerTo(asked.askId)
})

/** A small piece of work placed under a grant. */
export const placementUnder = (name: string, grantPath: ReadonlyArray<string>, hostId: HostId): MillFact => {
  const jobId = deriveId("job", 1, name)
  const fence = { epoch: 1, sequence: 1 }
  const resources = { cpuMilli: 100, memoryMib: 16, diskMib: 0, gpus: 0 }
  return factIn("PlacementMade", {
    jobId, workspace: acme, hostId, attempt: 1, attemptId: deriveId("att", 1, name), fence, signature: "none", reason: "a test",
    spec: { runtime: "noop", trust: "own", resources },
    warrant: { warrantId: deriveId("wrt", 1, name), hostId, jobId, attempt: 1, fence, resources, grantPath, expiresAtMs: Date.now() + 600_000, view: {} }
  })
}

export const digestOf = (name: string): Digest => digestOfToken(name)
