import { Blobs } from "@millrace/blobs"
import { deriveId } from "@millrace/decider"
import { freePort } from "@millrace/infra-ports"
import { testDatabase } from "@millrace/infra-postgres"
import { Journal, memoryJournal, MemoryLog } from "@millrace/journal"
import { newSeed, signingKey } from "@millrace/journal/admission"
import { Database } from "@millrace/readmodel"
import { type AttemptId, type FactId, HostId, type JobId, type MillFact, type PlacementMade, Principal, type Subject, WorkspaceName } from "@millrace/schemas"
import { Authority, digestOfToken, keyringInMemory, warrantPair } from "@millrace/service"
import { dialText, hostTokenText, verifyWith } from "@millrace/wire"
import { Clock, Context, Deferred, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Doors } from "../../../host/src/machine/doors.ts"
import { serveWire } from "../../../host/src/reactors/wire.ts"
import { placement } from "../../../host/src/testing/placement.ts"
import { GatewayService } from "../service.ts"

export const acme = WorkspaceName.make("acme")
export const hostId = HostId.make(`hst_${"0".repeat(26)}`)

/** Two workspaces, each with an owner whose token is its name. */
const people: ReadonlyArray<readonly [Subject, MillFact]> = [["owner", "acme"] as const, ["stranger", "other"] as const].flatMap(([name, where]) => {
  const [workspace, principal] = [WorkspaceName.make(where), Principal.make(`user:${name}`)]
  const subject = { kind: "principal", scope: workspace }
  return [
    [subject, { _tag: "RoleBound", workspace, principal, role: "owner", boundBy: principal }],
    [subject, { _tag: "CredentialIssued", workspace, principal, credentialDigest: digestOfToken(name), expiresAtMs: 4_000_000_000_000, issuedBy: principal }]
  ] as const
})

/** An attempt whose host is this test. */
export interface Work {
  readonly made: PlacementMade
  readonly say: (text: string | Uint8Array) => void
  /** It ends on its host; what was said is kept, and then the host has it no more. */
  readonly end: Effect.Effect<void>
}

/**
 * A gateway that can be stopped and started on one port, a host end behind a line that can be cut, and a
 * log in memory that the test speaks in for everybody else. Blobs and tables outlive the gateway.
 */
export class BytesCell extends Context.Service<BytesCell, {
  readonly url: string
  readonly log: MemoryLog
  readonly blobs: Blobs["Service"]
  readonly say: (subject: Subject, ...events: ReadonlyArray<MillFact>) => Effect.Effect<void>
  readonly startGateway: Effect.Effect<void>
  readonly stopGateway: Effect.Effect<void>
  /** Cuts the host's line to the relay; it dials again by itself. */
  readonly cutUplink: Effect.Effect<void>
  /** A job of acme that was submitted and placed, and runs. */
  readonly work: (options?: { readonly attempt?: number; readonly of?: JobId }) => Effect.Effect<Work>
  readonly settle: (jobId: JobId, outcome: "succeeded" | "failed" | "lost", attempt: number) => Effect.Effect<void>
}>()("test/BytesCell") {
  static readonly layer = Layer.effect(this, Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "mill-bytes-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const database = yield* testDatabase()
    const log = new MemoryLog()
    const journal = memoryJournal(log)
    const blobsContext = yield* Layer.build(Blobs.folder(join(folder, "blobs")))
    const blobs = Context.get(blobsContext, Blobs)
    const { privateKey, publicKey } = generateKeyPairSync("ed25519")
    const [port, linePort] = [yield* freePort, yield* freePort]
    const scope = yield* Effect.scope
    let said = 0

    const say = Effect.fnUntraced(function*(subject: Subject, ...events: ReadonlyArray<MillFact>) {
      const facts = events.map((event) => {
        const id = deriveId<FactId>("fct", 0, "test", said++)
        return { id, partOf: id, event }
      })
      const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
      yield* journal.append({ subject, actor: Principal.make("service:test"), happenedAtMs: yield* Clock.currentTimeMillis, facts: facts as never }, { last: "subject", sequence })
    }, Effect.orDie)

    let gateway: Scope.Closeable | undefined
    const startGateway = Effect.gen(function*() {
      gateway = yield* Scope.fork(scope)
      yield* Layer.buildWithScope(GatewayService({ host: "127.0.0.1", port, sessionKey: privateKey, rate: { perSecond: 1_000_000, burst: 1_000_000 } }).pipe(
        Layer.provide(Authority.layer),
        Layer.provide([Layer.succeed(Journal, journal), Database.layer({ url: Redacted.make(database) }), Layer.succeedContext(blobsContext), keyringInMemory, warrantPair])
      ), gateway)
      // A fresh gateway builds its tables first.
      yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/v1/jobs/job_${"0".repeat(26)}/output/stdout`, { headers: { authorization: "Bearer owner" } })).pipe(
        Effect.repeat({ until: ({ status }) => status === 404 }), Effect.timeout("20 seconds"))
    }).pipe(Effect.orDie)
    const stopGateway = Effect.suspend(() => gateway === undefined ? Effect.void : Scope.close(gateway, Exit.void))

    for (const [subject, event] of people) yield* say(subject, event)
    const key = signingKey(newSeed("user"))
    yield* say({ kind: "admission", scope: "cell" }, { _tag: "HostAdmitted", hostId, publicKey: key.publicKey, admittedBy: Principal.make("user:owner"), oneTimeKeyDigest: "x" })
    const line = yield* proxied(linePort, port)
    const doors = Context.get(yield* Layer.build(Doors.layer(undefined)), Doors)
    yield* startGateway
    const end = yield* serveWire({
      hostId,
      relayUrl: `ws://127.0.0.1:${linePort}/v1/wire`,
      token: Effect.map(Clock.currentTimeMillis, (atMs) =>
        Redacted.make(hostTokenText({ publicKey: key.publicKey, atMs, signature: key.sign(dialText(key.publicKey, atMs)) }))),
      verifyWarrant: verifyWith({ cellKeys: [publicKey], skewMs: 5_000 }),
      limits: { redialFrom: "10 millis", redialAtMost: "50 millis" }
    }).pipe(Effect.provideService(Doors, doors))
    yield* Effect.timeout(end.connected, "10 seconds")

    const work = Effect.fnUntraced(function*({ attempt = 1, of }: { readonly attempt?: number; readonly of?: JobId } = {}) {
      const jobId = of ?? (yield* Effect.promise(async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/v1/jobs`, { method: "POST", headers: { authorization: "Bearer owner", "content-type": "application/json" }, body: JSON.stringify({ argv: ["true"] }) })
        return ((await answer.json()) as { jobId: JobId }).jobId
      }))
      const like = placement("a", { attempt })
      const attemptId = deriveId<AttemptId>("att", 0, jobId, attempt)
      const made: PlacementMade = { ...like, jobId, workspace: acme, hostId, attemptId, warrant: { ...like.warrant, jobId } }
      const which = { jobId, workspace: acme, hostId, attempt, attemptId, fence: made.fence }
      const moment = { bootId: "b", hostMs: 1 }
      const at = join(folder, attemptId)
      mkdirSync(at, { recursive: true })
      const ended = yield* Deferred.make<void>()
      const parts: Array<Buffer> = []
      yield* say({ kind: "placement", scope: hostId }, made)
      yield* doors.runs(made, { folder: at, ended: Effect.as(Deferred.await(ended), { output: [] }), stop: Effect.void, release: Effect.void } as never)
      yield* say({ kind: "attempt", scope: hostId }, { _tag: "AttemptStarted", ...which, ...moment })
      return {
        made,
        say: (text: string | Uint8Array) => {
          parts.push(Buffer.from(text as Uint8Array))
          appendFileSync(join(at, "stdout"), text)
        },
        end: Effect.gen(function*() {
          yield* Deferred.succeed(ended, undefined)
          const blob = yield* Effect.orDie(blobs.putBytes(Buffer.concat(parts)))
          const kept = parts.length === 0 ? [] : [{ _tag: "ArtefactKept" as const, ...which, name: "stdout", blob, droppedBytes: 0 }]
          yield* say({ kind: "attempt", scope: hostId }, ...kept, { _tag: "AttemptExited", ...which, ...moment, code: 0, cause: "exited" })
          yield* doors.close(attemptId)
          rmSync(at, { recursive: true, force: true })
        })
      } satisfies Work
    })

    return BytesCell.of({
      url: `http://127.0.0.1:${port}`, log, blobs, say, startGateway, stopGateway, cutUplink: line.cut, work,
      settle: (jobId, outcome, attempt) => say({ kind: "schedule", scope: acme }, { _tag: "JobSettled", jobId, workspace: acme, outcome, attempt, exitCode: 0, cause: "it ended" })
    })
  }))
}

/** A line from one port to another that can be cut. */
const proxied = (from: number, to: number) =>
  Effect.gen(function*() {
    const lines = new Set<Socket>()
    const server = createServer((near) => {
      const far = connect(to, "127.0.0.1")
      for (const [one, other] of [[near, far], [far, near]] as const) {
        lines.add(one)
        one.on("error", () => other.destroy()).on("close", () => {
          lines.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
    const cut = Effect.sync(() => {
      for (const line of lines) line.destroy()
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(from, "127.0.0.1", () => resume(Effect.void))),
      () => Effect.andThen(cut, Effect.callback<void>((resume) => void server.close(() => resume(Effect.void))))
    )
    return { cut }
  })

export interface SseEvent {
  readonly id: string | undefined
  readonly name: string
  readonly data: any
}

const bytesOf = ({ data }: SseEvent): Buffer => data.text === undefined ? Buffer.from(data.base64, "base64") : Buffer.from(data.text)

/** A follower of a log, as a client of the API is. */
export const followLog = (url: string, jobId: JobId, { from, query = "follow=true", token = "owner" }: { readonly from?: string; readonly query?: string; readonly token?: string } = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const events: Array<SseEvent> = []
      const stopping = new AbortController()
      let ended = false
      let bytes = 0
      const reading = (async () => {
        const answer = await fetch(`${url}/v1/jobs/${jobId}/logs?${query}`, {
          headers: { authorization: `Bearer ${token}`, ...(from === undefined ? {} : { "last-event-id": from }) }, signal: stopping.signal
        })
        let text = ""
        for await (const part of answer.body!) {
          text += Buffer.from(part).toString("utf8")
          const blocks = text.split("\n\n")
          text = blocks.pop()!
          for (const block of blocks) {
            const fields = Object.fromEntries(block.split("\n").filter((line) => !line.startsWith(":")).map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]))
            if (fields["event"] === undefined) continue
            events.push({ id: fields["id"], name: fields["event"], data: JSON.parse(fields["data"]!) })
            if (fields["event"] === "output") bytes += bytesOf(events.at(-1)!).length
          }
        }
      })().catch(() => undefined).finally(() => {
        ended = true
      })
      const told = () => Buffer.concat(events.filter(({ name }) => name === "output").map(bytesOf))
      const until = (what: () => boolean) => Effect.sleep("5 millis").pipe(Effect.repeat({ until: what }), Effect.timeout("20 seconds"),
        Effect.mapError(() => new Error(`not seen in time; ${events.length} events, the last is ${JSON.stringify(events.at(-1))?.slice(0, 200)}`)), Effect.orDie)
      return {
        events,
        told,
        toldBytes: () => bytes,
        lastId: () => events.findLast(({ id }) => id !== undefined)?.id,
        says: (text: string) => until(() => told().toString() === text),
        over: until(() => ended),
        until,
        stop: Effect.promise(async () => {
          stopping.abort()
          await reading
        })
      }
    }),
    ({ stop }) => stop
  )
