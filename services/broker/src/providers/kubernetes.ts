import type {
  ApiException, AppsV1Api, AuthorizationV1Api, Configuration, ConfigurationOptions, CoreV1Api, CustomObjectsApi, HttpLibrary, KubeConfig, RequestContext, SecurityAuthentication
} from "@kubernetes/client-node"
import { Effect, Redacted, Schema } from "effect"
import { answerMsMax, ProviderUnclear, type Refusal, type Told } from "./provider.ts"

/** A Kubernetes API server, and as whom we speak to it. */
export interface ClusterOptions {
  readonly name: string
  readonly endpoint: string
  readonly token: Redacted.Redacted
  /** The certificate of whoever signed the server's, as PEM, where that is none of the usual ones. */
  readonly ca?: string
  /** How requests travel, where that is not over a connection of the client's own. */
  readonly http?: HttpLibrary
}

/** An answer that is no success: the server's own status, as it is documented. */
export interface Denied {
  readonly _tag: "Denied"
  readonly status: number
  readonly reason: string
  readonly message: string
  readonly retryAfterMs?: number
}

export type Answered<A> = Told<A> | Denied

/** The parts of the API that we use, through the project's own client. */
export interface Apis {
  readonly custom: CustomObjectsApi
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly authorization: AuthorizationV1Api
}

/** The project's own client: hundreds of modules, so it is loaded where a cluster is opened and nowhere else. */
type Client = typeof import("@kubernetes/client-node")

type Call<A> = (apis: Apis, options: ConfigurationOptions) => Promise<A>

/** One page of a list, whoever made it: the typed client and the untyped one name the rest of a list differently. */
export interface Page<A> {
  readonly items: ReadonlyArray<A>
  readonly metadata?: { readonly _continue?: string; readonly continue?: string }
}

export interface Cluster {
  /** One call: a success, a documented denial, or nothing clear. */
  readonly call: <A>(doing: string, call: Call<A>, headers?: Readonly<Record<string, string>>) => Effect.Effect<Answered<A>, ProviderUnclear>
  /** Everything over all pages. A list whose continuation is too old begins again. */
  readonly all: <A>(
    doing: string,
    page: (apis: Apis, paging: { readonly limit: number; readonly _continue?: string }, options: ConfigurationOptions) => Promise<Page<A>>,
    headers?: Readonly<Record<string, string>>
  ) => Effect.Effect<Answered<ReadonlyArray<A>>, ProviderUnclear>
}

const pageSize = 500
const pagesMax = 200
const beginningsMax = 3

/** "Status", the body of every answer of the API that is no success. */
const Status = Schema.Struct({ reason: Schema.optionalKey(Schema.String), message: Schema.optionalKey(Schema.String) })
const readStatus = Schema.decodeUnknownOption(Schema.Union([Status, Schema.fromJsonString(Status)]))

/** The client makes a pool of connections for each request; this keeps the first for all. */
const connectedOnce = (config: KubeConfig): SecurityAuthentication => {
  let first: ReturnType<RequestContext["getDispatcher"]>
  return {
    getName: () => config.getName(),
    applySecurityAuthentication: async (context) => {
      if (first === undefined) await config.applySecurityAuthentication(context)
      else {
        const token = config.getCurrentUser()?.token
        if (token !== undefined) context.setHeaderParam("Authorization", `Bearer ${token}`)
        context.setDispatcher(first)
      }
      first ??= context.getDispatcher()
    }
  }
}

const configurationOf = ({ createConfiguration, KubeConfig, ServerConfiguration }: Client, { ca, endpoint, http, name, token }: ClusterOptions): Configuration => {
  const config = new KubeConfig()
  config.loadFromClusterAndUser(
    { name, server: endpoint.replace(/\/$/u, ""), skipTLSVerify: false, ...(ca === undefined ? {} : { caData: Buffer.from(ca).toString("base64") }) },
    { name, token: Redacted.value(token) }
  )
  return createConfiguration({ baseServer: new ServerConfiguration(endpoint.replace(/\/$/u, ""), {}), authMethods: { default: connectedOnce(config) }, ...(http === undefined ? {} : { httpApi: http }) })
}

/** For one request: it ends when its caller has gone, and says what else it must. */
const optionsOf = ({ Observable }: Client, signal: AbortSignal, headers: Readonly<Record<string, string>>): ConfigurationOptions => ({
  middlewareMergeStrategy: "append",
  middleware: [{
    pre: (context) => {
      context.setSignal(signal)
      for (const [name, value] of Object.entries(headers)) context.setHeaderParam(name, value)
      return new Observable(Promise.resolve(context))
    },
    post: (context) => new Observable(Promise.resolve(context))
  }]
})

const isApiException = (client: Client, cause: unknown): cause is ApiException<unknown> => cause instanceof client.ApiException

const deniedBy = (client: Client, cause: unknown): Denied | undefined => {
  if (!isApiException(client, cause)) return undefined
  // What broke there leaves open what has happened.
  if (cause.code < 400 || cause.code >= 500) return undefined
  const status = readStatus(cause.body)
  const seconds = Number((cause.headers as Record<string, string> | undefined)?.["retry-after"] ?? "")
  return {
    _tag: "Denied",
    status: cause.code,
    reason: status._tag === "Some" ? status.value.reason ?? "" : "",
    message: (status._tag === "Some" ? status.value.message ?? "" : "").slice(0, 400),
    ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {})
  }
}

/** The words of a failure without its body, which may hold what nobody should log. */
const wordsOf = (client: Client, cause: unknown): string => {
  if (isApiException(client, cause)) return `status ${cause.code}`
  const inner = cause instanceof Error && cause.cause instanceof Error ? `: ${cause.cause.message}` : ""
  return cause instanceof Error ? `${cause.message}${inner}`.slice(0, 300) : "no answer"
}

/** The door to one cluster. `turn`: what each request waits for. */
export const openCluster = Effect.fnUntraced(function*(options: ClusterOptions, turn: Effect.Effect<void>): Effect.fn.Return<Cluster> {
  const client = yield* Effect.promise(() => import("@kubernetes/client-node"))
  const configuration = configurationOf(client, options)
  const apis: Apis = {
    custom: new client.CustomObjectsApi(configuration),
    core: new client.CoreV1Api(configuration),
    apps: new client.AppsV1Api(configuration),
    authorization: new client.AuthorizationV1Api(configuration)
  }
  const unclear = (doing: string, detail: string) => new ProviderUnclear({ provider: options.name, doing, detail })

  const call: Cluster["call"] = <A>(doing: string, made: Call<A>, headers: Readonly<Record<string, string>> = {}) =>
    Effect.andThen(turn, Effect.tryPromise({
      try: async (signal): Promise<Answered<A>> => ({ _tag: "Told", value: await made(apis, optionsOf(client, signal, headers)) }),
      catch: (cause) => cause
    }).pipe(
      Effect.timeout(answerMsMax),
      Effect.catch((cause: unknown): Effect.Effect<Answered<A>, ProviderUnclear> => {
        const denied = deniedBy(client, cause)
        return denied === undefined ? Effect.fail(unclear(doing, wordsOf(client, cause))) : Effect.succeed(denied)
      })
    ))

  const all: Cluster["all"] = Effect.fnUntraced(function*(doing, page, headers) {
    for (let beginning = 0; beginning < beginningsMax; beginning += 1) {
      const read = yield* onePass(doing, page, headers)
      if (read !== "too_old") return read
    }
    return yield* unclear(doing, "the list changed faster than it could be read")
  })

  const onePass = Effect.fnUntraced(function*<A>(doing: string, page: Parameters<typeof all<A>>[1], headers: Readonly<Record<string, string>> | undefined): Effect.fn.Return<Answered<ReadonlyArray<A>> | "too_old", ProviderUnclear> {
    const items: Array<A> = []
    let after: string | undefined
    for (let read = 0; read < pagesMax; read += 1) {
      const answer: Answered<Page<A>> = yield* call(doing, (given, how) => page(given, { limit: pageSize, ...(after === undefined ? {} : { _continue: after }) }, how), headers)
      if (answer._tag === "Denied") return answer.status === 410 && after !== undefined ? "too_old" : answer
      items.push(...answer.value.items)
      after = answer.value.metadata?._continue ?? answer.value.metadata?.continue
      if (after === undefined || after === "") return { _tag: "Told", value: items }
    }
    return yield* unclear(doing, `it has more than ${pagesMax} pages`)
  })

  return { call, all }
})

/** What a denial means to a broker. A conflict or a list that is too old is none: whoever asked has to look again. */
export const refusalOf = ({ message, reason, retryAfterMs, status }: Denied, nowMs: number): Refusal | undefined => {
  const detail = `${reason === "" ? `status ${status}` : reason}${message === "" ? "" : `: ${message}`}`
  switch (status) {
    case 400:
    case 405:
    case 413:
    case 415:
    case 422:
      return { _tag: "Refusal", reason: "invalid", narrows: "type", detail }
    case 401:
      return { _tag: "Refusal", reason: "unauthorised", narrows: "provider", detail }
    case 403:
      return { _tag: "Refusal", reason: /exceeded quota/iu.test(message) ? "quota" : "unauthorised", narrows: "provider", detail }
    case 404:
      return { _tag: "Refusal", reason: "offer_gone", narrows: "type", detail }
    case 429:
      return { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail, untilMs: nowMs + (retryAfterMs ?? 1_000) }
    default:
      return undefined
  }
}
