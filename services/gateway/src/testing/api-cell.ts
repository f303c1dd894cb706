import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { freePort } from "@millrace/infra-ports"
import { Journal, memoryJournal, MemoryLog, readable } from "@millrace/journal"
import { testDatabase } from "@millrace/infra-postgres"
import { Database } from "@millrace/readmodel"
import { type AttemptId, type FactId, type GrantId, type HostId, type JobId, type MillFact, Principal, type Subject, type WarrantId, type WorkspaceName } from "@millrace/schemas"
import { Authority, digestOfToken, keyringInMemory, warrantBearer, warrantPair, WarrantSigner } from "@millrace/service"
import { assert } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { createServer } from "node:http"
import type { Rate } from "../domain/token-bucket.ts"
import { GatewayService } from "../service.ts"

export const acme = "acme" as WorkspaceName
export const other = "other" as WorkspaceName
const farMs = 4_000_000_000_000

export const agentsGrant = namedId<GrantId>("grt", "for the agent")
const sendingGrant = namedId<GrantId>("grt", "for whoever submits alone")
/** One of the other workspace, whose holder bears the name of acme's owner. */
export const strangeGrant = namedId<GrantId>("grt", "of the other workspace")
const poorGrant = namedId<GrantId>("grt", "for five cents")

const roleOf = (workspace: WorkspaceName, name: string, role: "owner" | "manager" | "viewer"): ReadonlyArray<readonly [Subject, MillFact]> => [
  [{ kind: "principal", scope: workspace }, { _tag: "RoleBound", workspace, principal: Principal.make(`user:${name}`), role, boundBy: Principal.make(`user:${name}`) }],
  tokenOf(workspace, `user:${name}`, name)
]
const tokenOf = (workspace: WorkspaceName, principal: string, token: string, grant?: GrantId): readonly [Subject, MillFact] => [
  { kind: "principal", scope: workspace },
  {
    _tag: "CredentialIssued",
    workspace,
    principal: Principal.make(principal),
    credentialDigest: digestOfToken(token),
    expiresAtMs: farMs,
    issuedBy: Principal.make("user:owner"),
    ...(grant === undefined ? {} : { grant })
  }
]
const grantOf = (grantId: GrantId, holder: string, constraints: object, depthMax = 1, actions = ["job.*"]): readonly [Subject, MillFact] => [
  { kind: "grant", scope: acme, story: grantId },
  {
    _tag: "GrantIssued",
    workspace: acme,
    tree: grantId,
    grantId,
    holder: Principal.make(holder),
    issuer: Principal.make("user:owner"),
    reach: { actions: actions as never, resources: ["workspace/acme/*"] as never, constraints, notBeforeMs: 0, expiresAtMs: farMs, depthMax },
    durable: false,
    reason: "to help"
  } as MillFact
]
/** The owner under a grant that gives everything, and another one of the same holder. */
export const boundGrant = namedId<GrantId>("grt", "for what the owner runs")
export const widerGrant = namedId<GrantId>("grt", "for the owner's other work")
const everything = (fact: readonly [Subject, MillFact]): readonly [Subject, MillFact] => {
  const [subject, issued] = fact as readonly [Subject, Extract<MillFact, { _tag: "GrantIssued" }>]
  return [subject, { ...issued, reach: { ...issued.reach, actions: ["*"] as never, resources: ["workspace/acme", "workspace/acme/*"] as never } }]
}
const world: ReadonlyArray<readonly [Subject, MillFact]> = [
  [{ kind: "principal", scope: acme }, { _tag: "WorkspaceOpened", workspace: acme, organisation: "acme", owner: Principal.make("user:owner") }],
  ...roleOf(acme, "owner", "owner"),
  ...roleOf(acme, "manager", "manager"),
  ...roleOf(acme, "reader", "viewer"),
  ...roleOf(other, "stranger", "owner"),
  grantOf(agentsGrant, "agent:helper", { cpuMilliMax: 1000, runMsMax: 3_600_000 }),
  tokenOf(acme, "agent:helper", "agent", agentsGrant),
  tokenOf(acme, "agent:bare", "bare"),
  grantOf(sendingGrant, "agent:sender", {}, 1, ["job.submit"]),
  tokenOf(acme, "agent:sender", "sender", sendingGrant),
  [{ kind: "grant", scope: other, story: strangeGrant }, { ...grantOf(strangeGrant, "user:owner", {})[1], workspace: other } as MillFact],
  grantOf(poorGrant, "agent:poor", { spendPicoMax: 50_000_000_000n }),
  tokenOf(acme, "agent:poor", "poor", poorGrant),
  everything(grantOf(boundGrant, "user:owner", { cpuMilliMax: 1000 })),
  everything(grantOf(widerGrant, "user:owner", {})),
  tokenOf(acme, "user:owner", "bound", boundGrant)
]

let said = 0
/** Says a fact as the service would that owns it. */
export const say = (log: MemoryLog, [subject, event]: readonly [Subject, MillFact], more: { readonly causedBy?: FactId } = {}) =>
  Effect.gen(function*() {
    const atMs = yield* Clock.currentTimeMillis
    const journal = memoryJournal(log)
    const id = deriveId<FactId>("fct", atMs, "test", said++)
    const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
    const { stream, ...place } = yield* Effect.orDie(journal.append({ subject, actor: Principal.make("service:access"), happenedAtMs: atMs, facts: [{ id, partOf: id, event, ...more }] }, { last: "subject", sequence }))
    return { id, cut: { [stream]: place.sequence } }
  })

/** A service beside the gateway, which answers what it was asked. */
const neighbour = Effect.acquireRelease(
  Effect.callback<{ readonly url: string; readonly server: ReturnType<typeof createServer> }>((resume) => {
    const server = createServer((asked, answer) => {
      if (asked.url === "/openapi.json") return void answer.end(JSON.stringify({ paths: { "/v1/usage": { get: { summary: "Read usage" } }, "/v1/own": { get: {} } }, components: { schemas: { Cut: {} } } }))
      if (asked.url === "/v1/budgets") {
        answer.writeHead(403, { "content-type": "application/json" })
        return void answer.end(JSON.stringify({ _tag: "Forbidden", code: "capability_missing", what: "no", where: "workspace acme", remedy: "ask", missing: { action: "budget.read", resource: "workspace/acme" } }))
      }
      answer.writeHead(asked.url?.startsWith("/v1/usage/none") === true ? 404 : 200, { "content-type": "application/json", "x-own": "kept", connection: "x-hop", "x-hop": "dropped" })
      answer.end(JSON.stringify({ url: asked.url, authorization: asked.headers.authorization, hop: asked.headers["proxy-authorization"] ?? null, length: asked.headers["content-length"] ?? null }))
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, server })))
  }),
  ({ server }) => Effect.sync(() => void server.close())
)

/** A gateway on a free port, over a log in memory and a real Postgres. */
export class Gateway extends Context.Service<Gateway, { readonly url: string; readonly log: MemoryLog; readonly warrant: (parent: JobId, more?: object) => string }>()("test/Gateway") {
  static readonly layerAt = (rate: Rate) => Layer.effect(this, Effect.gen(function*() {
    const url = yield* testDatabase()
    const log = new MemoryLog()
    for (const fact of world) yield* say(log, fact)
    const port = yield* freePort
    const { url: metering } = yield* neighbour
    const { url: gone } = { url: `http://127.0.0.1:${yield* freePort}` }
    const journal = Layer.succeed(Journal, memoryJournal(log))
    const keys = yield* Layer.build(warrantPair)
    yield* Layer.build(GatewayService({ host: "127.0.0.1", port, rate, routing: { upstreams: { metering, broker: gone } } }).pipe(
      Layer.provide(Authority.layer),
      Layer.provide([
        journal,
        Database.layer({ url: Redacted.make(url) }),
        Blobs.memory,
        keyringInMemory,
        Layer.succeedContext(keys)
      ])))
    const warrant = (jobId: JobId, more: object = {}) => {
      const one = {
        warrantId: namedId<WarrantId>("wrt", jobId),
        hostId: namedId<HostId>("hst", "one"),
        jobId,
        attempt: 1,
        attemptId: namedId<AttemptId>("att", jobId),
        fence: { epoch: 1, sequence: 1 },
        resources: { cpuMilli: 1, memoryMib: 1, diskMib: 0, gpus: 0 },
        grantPath: [agentsGrant],
        expiresAtMs: farMs,
        view: {},
        workspace: acme,
        holder: Principal.make("agent:helper"),
        ...more
      }
      return `Warrant ${warrantBearer(one, Context.get(keys, WarrantSigner).sign(one))}`
    }
    return { url: `http://127.0.0.1:${port}`, log, warrant }
  }))
  static readonly layer = this.layerAt({ perSecond: 1_000_000, burst: 1_000_000 })
}

export interface Answer {
  readonly status: number
  readonly body: any
  readonly headers: Headers
}

export const ask = Effect.fnUntraced(function*(method: string, path: string, { body, headers = {}, token = "owner" }: {
  readonly body?: unknown
  readonly headers?: Record<string, string>
  readonly token?: string
} = {}) {
  const { url } = yield* Gateway
  return yield* Effect.promise(async (): Promise<Answer> => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
    })
    const text = await answer.text()
    return { status: answer.status, body: text === "" ? undefined : JSON.parse(text), headers: answer.headers }
  })
})

export const cutText = (cut: Record<string, number>) => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")
export const after = (cut: Record<string, number>) => `after=${cutText(cut)}`

/** Every error says what, where, one remedy and a stable code. */
export const assertRefused = ({ body, status }: Answer, wanted: number, code: string) => {
  assert.strictEqual(status, wanted, JSON.stringify(body))
  assert.strictEqual(body.code, code, JSON.stringify(body))
  for (const field of ["what", "where", "remedy"]) assert.isAbove(String(body[field]).length, 0, field)
}

export const submitted = Effect.fnUntraced(function*(body: object = {}, token = "owner") {
  const answer = yield* ask("POST", "/v1/jobs", { body: { argv: ["true"], ...body }, token })
  assert.strictEqual(answer.status, 200, JSON.stringify(answer.body))
  return answer.body as { jobId: JobId; cut: Record<string, number> }
})

export const factsIn = (log: MemoryLog, filter: string) => log.after("GATEWAY", 0, filter, 10_000).commits.flatMap((commit) => readable(commit).facts)

export const hostId = namedId<HostId>("hst", "one")
export const settled = (jobId: JobId): readonly [Subject, MillFact] => [{ kind: "schedule", scope: acme }, { _tag: "JobSettled", jobId, workspace: acme, outcome: "succeeded", attempt: 1, exitCode: 0, cause: "exited with 0" }]
export const deferred = (jobId: JobId): readonly [Subject, MillFact] => [{ kind: "schedule", scope: acme }, { _tag: "JobDeferred", jobId, workspace: acme, reason: "no_room", arithmetic: "8 cores are needed, 4 are free", unblockedBy: "capacity" }]
