import type { ActionName } from "@millrace/authority"
import { MissingCapability } from "@millrace/schemas"
import { type Authority, callerBy, type WarrantVerifier } from "@millrace/service"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { OpenApi } from "effect/http-api"
import { type IncomingMessage, request as requestHttp } from "node:http"
import { request as requestHttps } from "node:https"
import { digestOf } from "../domain/request.ts"
import { Gate } from "../reactors/gate.ts"
import { Pace } from "../reactors/pace.ts"
import { Api } from "./api.ts"
import type { Forbidden, Unavailable } from "./errors.ts"
import { retryAfter } from "./metered.ts"
import { refusalOf } from "./refusals.ts"

/** The services whose own reads are mounted on this origin, and where they serve them. */
export type Upstream = "access" | "metering" | "scheduler" | "broker" | "snapshots"

export interface RouterSettings {
  /** Where each service serves its reads, as `http://host:port`. What is not named here is not mounted. */
  readonly upstreams: Partial<Readonly<Record<Upstream, string>>>
  /** How long a service may take to begin its answer, in ms. 10,000 unless told. */
  readonly beginMsMax?: number
  /** How long its answer may stand still, in ms. 60,000 unless told. */
  readonly idleMsMax?: number
}

/** Which service answers what; `/*` is the path itself too. Paths are the same on both sides; each service authenticates and decides for itself. */
const mounts: ReadonlyArray<readonly [path: `/${string}`, upstream: Upstream]> = [
  ["/v1/grants/*", "access"],
  ["/v1/principals/*", "access"],
  ["/v1/decisions/*", "access"],
  ["/v1/usage/*", "metering"],
  ["/v1/budgets/*", "metering"],
  ["/v1/prices/*", "metering"],
  ["/v1/hosts/*", "scheduler"],
  ["/v1/jobs/:jobId/why", "scheduler"],
  ["/v1/scheduler/*", "scheduler"],
  ["/v1/plan", "scheduler"],
  ["/v1/quotas/*", "scheduler"],
  ["/v1/leases/*", "broker"],
  ["/v1/capacity/*", "broker"],
  ["/v1/snapshots/*", "snapshots"]
]

/** What a service itself does when it is asked to: all that is asked stands in the query, and its answer is in its own facts. */
const acts: ReadonlyArray<readonly [path: `/${string}`, upstream: Upstream]> = [["/v1/capacity/reap", "broker"]]

/** One origin: reads of the other services, and one document for all of them. */
export const routerLive = (settings: RouterSettings = { upstreams: {} }): Layer.Layer<never, never, Authority | Gate | HttpRouter.HttpRouter | Pace | WarrantVerifier> =>
  Layer.unwrap(Effect.map(Effect.context<Authority | Gate | Pace | WarrantVerifier>(), (context) => {
    const told = (refused: Refused) => Effect.provideContext(toldByGate(refused), context)
    const paced = (answer: ReturnType<typeof forward>) => Effect.flatMap(Effect.provideContext(tooOften, context), (turnedAway) => turnedAway === undefined ? answer : Effect.succeed(turnedAway))
    return HttpRouter.addAll([
      ...mounts.map(([path, upstream]) => HttpRouter.route("GET", path, paced(forward(upstream, settings, told)))),
      ...acts.map(([path, upstream]) => HttpRouter.route("POST", path, paced(forward(upstream, settings, told)))),
      HttpRouter.route("GET", "/openapi.json", document(settings))
    ])
  }))

/** Headers that belong to one connection alone (RFC 9110, section 7.6.1), with what is made anew on each. */
const ofOneHop = new Set([
  "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"
])

/** Headers of a body: reads have none, and a length without its bytes would have the next request taken for them. */
const ofBody = new Set(["content-length", "content-type", "content-encoding", "expect"])

const withoutBody = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !ofBody.has(name)))

const endToEnd = (headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>): Record<string, string> => {
  const named = String(headers["connection"] ?? "").toLowerCase().split(",").map((name) => name.trim())
  return Object.fromEntries(Object.entries(headers).flatMap(([name, value]) =>
    value === undefined || ofOneHop.has(name) || named.includes(name) ? [] : [[name, typeof value === "string" ? value : value.join(", ")]]))
}

/** The answer to a workspace that asks more often than it may, over all doors together. Who nobody knows is for the service to turn away. */
const tooOften = Effect.gen(function*() {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const caller = yield* Effect.option(callerBy(headers["authorization"] ?? ""))
  if (caller._tag === "None") return undefined
  const kept = yield* Effect.result(Pace.use((pace) => pace.keep(caller.value.workspace)))
  return kept._tag === "Success"
    ? undefined
    : HttpServerResponse.jsonUnsafe({ _tag: "TooMany", ...kept.failure.words }, { status: 429, headers: { "retry-after": retryAfter(kept.failure.words) } })
})

const forward = (upstream: Upstream, { beginMsMax = 10_000, idleMsMax = 60_000, upstreams }: RouterSettings, toldByGate: (refused: Refused) => Effect.Effect<Forbidden | Unavailable | undefined>) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const base = upstreams[upstream]
    if (base === undefined) return trouble(503, "not_mounted", `this gateway does not know where ${upstream} is`, upstream, `set MILLRACE_${upstream.toUpperCase()}_URL where the gateway runs`)
    const target = targetOf(request.originalUrl)
    if (target === undefined) return trouble(400, "path_malformed", "the path is not written as the API writes its paths", "the request line", "send the path alone, without dots, doubled slashes or another host")
    const answer = yield* Effect.result(begun(request.method === "POST" ? "POST" : "GET", `${base.replace(/\/$/u, "")}${target}`, withoutBody(endToEnd(request.headers)), beginMsMax))
    if (answer._tag === "Failure") {
      return answer.failure.code === "TIMED_OUT"
        ? trouble(503, "upstream_silent", `${upstream} did not begin to answer within ${beginMsMax} ms`, upstream, "ask again in a moment; if it lasts, look whether it runs: millrace doctor")
        : trouble(502, "upstream_unreachable", `${upstream} cannot be reached (${answer.failure.code})`, upstream, "ask again in a moment; if it lasts, look whether it runs: millrace doctor")
    }
    const { headers, statusCode = 502 } = answer.success
    if (statusCode === 403 && !tellsItself.has(upstream)) {
      const text = yield* Effect.orElseSucceed(textOf(answer.success, idleMsMax), () => "")
      const told = yield* toldByGate({ upstream, path: request.originalUrl, authorization: request.headers["authorization"] ?? "", missing: missingIn(text) })
      return told === undefined
        ? HttpServerResponse.text(text, { status: statusCode, contentType: headers["content-type"] ?? "application/json" })
        : HttpServerResponse.jsonUnsafe(wordsOf(told), { status: told._tag === "Forbidden" ? 403 : 503 })
    }
    const { "content-length": contentLength, "content-type": contentType, ...others } = endToEnd(headers)
    return HttpServerResponse.stream(bytesOf(answer.success, idleMsMax), {
      status: statusCode,
      headers: others,
      ...(contentType === undefined ? {} : { contentType }),
      ...(contentLength === undefined ? {} : { contentLength: Number(contentLength) })
    })
  })

/** Those that write down themselves whom they refuse. */
const tellsItself: ReadonlySet<Upstream> = new Set(["access"])

/** What a service has refused, in its own words. */
interface Refused {
  readonly upstream: Upstream
  readonly path: string
  readonly authorization: string
  readonly missing: MissingCapability | undefined
}

/**
 * Of a refusal by a service that writes down none: this gate decides the same again, so that the audit has it
 * before it is answered. Undefined where this gate knows nothing of it, or would let the caller through, as when
 * a grant has come a moment ago: the service's own answer stands then.
 */
const toldByGate = Effect.fnUntraced(function*({ authorization, missing, path, upstream }: Refused) {
  const caller = yield* Effect.option(callerBy(authorization))
  const [kind, workspace, ...within] = String(missing?.resource ?? "").split("/")
  if (missing === undefined || caller._tag === "None" || kind !== "workspace" || workspace !== caller.value.workspace) return undefined
  const { pass } = yield* Gate
  const again = yield* Effect.result(pass(caller.value, { action: missing.action as string as ActionName, within, argumentsDigest: digestOf({ upstream, path }) }))
  return again._tag === "Success" ? undefined : refusalOf(again.failure)
})

const refusalBytesMax = 64 * 1024

const textOf = (answer: IncomingMessage, idleMsMax: number): Effect.Effect<string, Unreached> =>
  Stream.runFold(bytesOf(answer, idleMsMax), () => Buffer.alloc(0), (read: Buffer, bytes) => read.length > refusalBytesMax ? read : Buffer.concat([read, bytes])).pipe(
    Effect.map((read) => read.toString("utf8"))
  )

const readRefusal = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ missing: MissingCapability })))
const missingIn = (text: string): MissingCapability | undefined => Option.getOrUndefined(Option.map(readRefusal(text), ({ missing }) => missing))

const wordsOf = (error: Forbidden | Unavailable): object => ({ ...error, _tag: error._tag })

/** Path and query as they came, unless they would name something else than what was mounted once they are read as a URL. */
const targetOf = (originalUrl: string): string | undefined => {
  const asked = originalUrl.replace(/^https?:\/\/[^/?#]*/u, "")
  const { pathname, search } = new URL(asked, "http://origin")
  return `${pathname}${search}` === asked ? asked : undefined
}

class Unreached extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

/** The head of an answer, or why there is none. Whoever stops waiting hangs up. */
const begun = (method: "GET" | "POST", url: string, headers: Record<string, string>, beginMsMax: number): Effect.Effect<IncomingMessage, Unreached> =>
  Effect.callback<IncomingMessage, Unreached>((resume) => {
    const sent = (url.startsWith("https:") ? requestHttps : requestHttp)(url, { method, headers }, (answer) => resume(Effect.succeed(answer)))
    sent.on("error", (cause: NodeJS.ErrnoException) => resume(Effect.fail(new Unreached(cause.code ?? "unknown"))))
    sent.end()
    return Effect.sync(() => void sent.destroy())
  }).pipe(Effect.timeoutOrElse({ duration: beginMsMax, orElse: () => Effect.fail(new Unreached("TIMED_OUT")) }))

/** Bytes as they come, no faster than they are taken. An answer that breaks off breaks off here too. */
const bytesOf = (answer: IncomingMessage, idleMsMax: number): Stream.Stream<Uint8Array, Unreached> => {
  answer.setTimeout(idleMsMax, () => void answer.destroy(new Unreached("IDLE")))
  return Stream.fromAsyncIterable<Uint8Array, Unreached>(answer, (cause) => (cause instanceof Unreached ? cause : new Unreached("BROKEN_OFF"))).pipe(
    Stream.ensuring(Effect.sync(() => void answer.destroy()))
  )
}

const trouble = (status: number, code: string, what: string, where: string, remedy: string) =>
  HttpServerResponse.jsonUnsafe({ _tag: status === 400 ? "BadRequest" : status === 502 ? "BadGateway" : "Unavailable", code, what, where, remedy }, { status })

interface Document {
  readonly paths?: Record<string, unknown>
  readonly components?: { readonly schemas?: Record<string, unknown> }
  readonly tags?: ReadonlyArray<unknown>
}

/** How long each service's document may take, in ms: those that are away are named instead of waited for. */
const documentMsMax = 2_000
const documentBytesMax = 8 * 1024 * 1024

/** The whole origin in one document: the gateway's own, and what the others serve here. */
const document = ({ upstreams }: RouterSettings) =>
  Effect.gen(function*() {
    const own = OpenApi.fromApi(Api) as unknown as Document
    const others = yield* Effect.forEach(Object.entries(upstreams), ([name, base]) =>
      Effect.map(Effect.result(documentAt(base)), (found) => ({ name, found })), { concurrency: 5 })
    const absent = others.flatMap(({ found, name }) => (found._tag === "Failure" ? [name] : []))
    const merged = others.reduce((whole, { found, name }) => found._tag === "Failure" ? whole : merge(whole, renamed(found.success, name)), own)
    return HttpServerResponse.jsonUnsafe({ ...merged, ...(absent.length === 0 ? {} : { "x-millrace-absent": absent }) })
  })

const documentAt = (base: string) =>
  Effect.tryPromise({
    try: async (signal) => {
      const answer = await fetch(`${base.replace(/\/$/u, "")}/openapi.json`, { signal: AbortSignal.any([signal, AbortSignal.timeout(documentMsMax)]) })
      const text = await answer.text()
      if (!answer.ok || text.length > documentBytesMax) throw new Error(`it answers ${answer.status}`)
      return JSON.parse(text) as Document
    },
    catch: () => new Unreached("NO_DOCUMENT")
  })

/** Two services may call different shapes by one name: those of others carry their service's. */
const renamed = (document: Document, service: string): Document =>
  JSON.parse(JSON.stringify({
    ...document,
    components: { ...document.components, schemas: Object.fromEntries(Object.entries(document.components?.schemas ?? {}).map(([name, schema]) => [`${service}_${name}`, schema])) }
  }).replaceAll("\"#/components/schemas/", `"#/components/schemas/${service}_`)) as Document

const isMounted = (path: string): boolean =>
  mounts.some(([mount]) => {
    const pattern = mount.replace(":jobId", "{jobId}")
    return pattern.endsWith("/*") ? path === pattern.slice(0, -2) || path.startsWith(pattern.slice(0, -1)) : path === pattern
  })

const merge = (whole: Document, other: Document): Document => {
  const paths: Record<string, unknown> = { ...whole.paths }
  for (const [path, operations] of Object.entries(other.paths ?? {})) {
    const { get } = operations as { readonly get?: unknown }
    if (get !== undefined && isMounted(path)) paths[path] = { ...(paths[path] as object | undefined), get }
  }
  return {
    ...whole,
    paths,
    components: { ...whole.components, schemas: { ...whole.components?.schemas, ...other.components?.schemas } },
    tags: [...(whole.tags ?? []), ...(other.tags ?? [])]
  }
}
