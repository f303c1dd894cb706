import { assert, layer } from "@effect/vitest"
import { Blobs } from "@millrace/blobs"
import { startServer } from "@millrace/infra-nats"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Checkpoints, Journal } from "@millrace/journal"
import { connectNats, openJournal, provisionStreams } from "@millrace/journal/jetstream"
import { Database } from "@millrace/readmodel"
import { type MillFact, Principal, WorkspaceName } from "@millrace/schemas"
import { Authority, digestOfToken, warrantPair } from "@millrace/service"
import { Context, Effect, Layer, Redacted } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { snapshotAtEndOf } from "./domain/snapshot-id.ts"
import { SnapshotsService } from "./service.ts"
import { acme, exited, expiryAsked, placed, saying, subjectOf, written } from "./testing/cell.ts"

const ada = Principal.make("user:ada")
/** The service on a free port, over a real log and a real Postgres. */
class Running extends Context.Service<Running, { readonly url: string; readonly say: (event: MillFact) => Effect.Effect<unknown, unknown>; readonly blobs: Blobs["Service"] }>()("test/Running") {
  static readonly layer = Layer.effect(this, Effect.gen(function*() {
    const storeDir = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-snapshots-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const { url: nats } = yield* startServer({ storeDir })
    const connection = yield* connectNats({ servers: nats, name: "test" })
    yield* provisionStreams({ connection, prefix: "$JS.API", patienceMs: 30_000 }, { replicas: 1 })
    const journal = yield* openJournal({ nats: { servers: nats, name: "snapshots" } })
    const say = (event: MillFact) => Effect.gen(function*() {
      const subject = subjectOf(event)
      const last = yield* journal.last(subject)
      return yield* journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs: Date.now(), facts: [saying(event)] }, { last: "subject", sequence: last?.place.sequence ?? 0 })
    })
    yield* say({ _tag: "WorkspaceOpened", workspace: acme, organisation: "acme", owner: ada })
    yield* say({ _tag: "RoleBound", workspace: acme, principal: ada, role: "owner", boundBy: ada })
    yield* say({ _tag: "CredentialIssued", workspace: acme, principal: ada, credentialDigest: digestOfToken("mill_owner"), expiresAtMs: Date.now() + 3_600_000, issuedBy: ada })
    const other = WorkspaceName.make("other")
    yield* say({ _tag: "RoleBound", workspace: other, principal: Principal.make("user:eve"), role: "owner", boundBy: ada })
    yield* say({ _tag: "CredentialIssued", workspace: other, principal: Principal.make("user:eve"), credentialDigest: digestOfToken("mill_other"), expiresAtMs: Date.now() + 3_600_000, issuedBy: ada })
    const port = yield* freePort
    const blobs = Context.get(yield* Layer.build(Blobs.memory), Blobs)
    yield* Layer.build(SnapshotsService({ host: "127.0.0.1", port }).pipe(
      Layer.provide([Database.layer({ url: Redacted.make(yield* testDatabase()) }), Layer.succeed(Blobs, blobs), Checkpoints.layerMemory, warrantPair, Authority.layer]),
      Layer.provide(Layer.succeed(Journal, journal))
    ))
    return { url: `http://127.0.0.1:${port}`, say, blobs }
  }))
}

const get = Effect.fnUntraced(function*(path: string, token = "mill_owner") {
  const { url } = yield* Running
  return yield* Effect.promise(async () => {
    const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(10_000) })
    return { status: answer.status, body: await answer.json() as any }
  })
})

/** Asks until it is so; the test's own limit is the end of it. */
const until = (path: string, holds: (body: any) => boolean): Effect.Effect<any, never, Running> =>
  Effect.flatMap(get(path), ({ body }) => holds(body) ? Effect.succeed(body) : Effect.andThen(Effect.sleep("20 millis"), until(path, holds)))

layer(Running.layer, { excludeTestServices: true, timeout: 30_000 })("the snapshots service, over a real log and a real Postgres", (it) => {
  const made = placed(1)
  const id = snapshotAtEndOf(made)

  it.effect("a job's files are planned, kept, shown, and let go when asked; and what was so can be read", () => Effect.gen(function*() {
    const { blobs, say } = yield* Running
    yield* say(made)
    const planned = yield* until(`/v1/snapshots?job=${made.jobId}`, ({ snapshots }) => snapshots?.length === 1)
    assert.deepInclude(planned.snapshots[0], { snapshotId: id, stands: "planned", jobId: made.jobId, sizeBytes: null })
    const blob = yield* blobs.putBytes(Buffer.from("files"))
    yield* say(written(made, blob))
    yield* say(exited(made))
    const there = yield* until(`/v1/snapshots/${id}`, ({ snapshot }) => snapshot?.stands === "available")
    assert.deepInclude(there.snapshot, { digest: blob.digest, sizeBytes: 5, runtime: "sandbox", form: "files" })
    yield* say(expiryAsked(1, made))
    yield* until(`/v1/snapshots/${id}`, ({ snapshot }) => snapshot?.stands === "expired")
    const before = yield* get(`/v1/snapshots/${id}?at=SNAPSHOTS=${there.cut.SNAPSHOTS}`)
    assert.strictEqual(before.body.snapshot.stands, "available")
  }), 20_000)

  it.effect("shows nothing to another workspace, to strangers, or to those who ask for nonsense", () => Effect.gen(function*() {
    assert.deepStrictEqual((yield* get("/v1/snapshots", "mill_other")).body.snapshots, [])
    assert.deepInclude(yield* get(`/v1/snapshots/${id}`, "mill_other"), { status: 404 })
    assert.strictEqual((yield* get("/v1/snapshots", "mill_nobody")).status, 401)
    const nonsense = yield* get("/v1/snapshots?job=nonsense")
    assert.strictEqual(nonsense.status, 400)
    assert.match(nonsense.body.what, /job/u)
  }), 20_000)
})
