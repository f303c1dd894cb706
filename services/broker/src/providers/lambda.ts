import type { Offer, ProviderName } from "@millrace/schemas"
import { Clock, Effect, type Redacted, Result, Schema } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { Listed } from "../domain/sweep.ts"
import { opening } from "./entry.ts"
import { Failed, gpuMemoryMibOf, type Instance, Instances, InstanceTypes, Launched, modelOf, SshKeys, Terminated } from "./lambda-words.ts"
import { answerMsMax, type Bought, type Capabilities, picoPerSecondOfCents, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "./provider.ts"
import { checksOf } from "./checks.ts"
import { requestBudget } from "./request-budget.ts"

/** Where Lambda's API is, and as whom we speak to it. */
export interface LambdaOptions {
  readonly name: ProviderName
  readonly endpoint: string
  readonly apiKey: Redacted.Redacted
  /** The name of an SSH key of the account: the vendor wants exactly one at each launch. */
  readonly sshKey: string
  /** Where the vendor's limits are not those of its documents, such as another account's agreement. */
  readonly can?: Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">>
}

export const lambdaCapabilities: Capabilities = {
  manner: "instances",
  sells: "machines",
  spot: false,
  noticeMs: undefined,
  fabric: false,
  deadManMs: undefined,
  endsWhenOff: false,
  userData: true,
  // The launch has no idempotency key; the name is ours, so we look before we ask again.
  idempotent: false,
  visibleWithinMs: 20_000,
  // "1 request a second; launches: 1 in 12 s, 5 a minute".
  requestsEvery: { anyMs: 1_000, createMs: 12_000 },
  billedStepMs: 60_000,
  billedMsMin: 60_000,
  writtenFrom: "Lambda Cloud API 1.10.0 (OpenAPI)"
}

const cellTag = "millrace-cell"
const sinceTag = "millrace-since"

/** What the vendor's own codes mean, and what else would get the same answer. */
const refusals: Readonly<Record<string, Pick<Refusal, "reason" | "narrows">>> = {
  "instance-operations/launch/insufficient-capacity": { reason: "out_of_capacity", narrows: "type" },
  "global/quota-exceeded": { reason: "quota", narrows: "provider" },
  "global/invalid-api-key": { reason: "unauthorised", narrows: "provider" },
  "global/account-inactive": { reason: "unauthorised", narrows: "provider" },
  "global/invalid-address": { reason: "unauthorised", narrows: "provider" },
  "global/forbidden": { reason: "unauthorised", narrows: "provider" },
  "global/object-does-not-exist": { reason: "offer_gone", narrows: "type" },
  "global/invalid-parameters": { reason: "invalid", narrows: "type" },
  "instance-operations/launch/file-system-in-wrong-region": { reason: "invalid", narrows: "region" }
}

/** Lambda Cloud: plain REST with hard rate limits; whole machines by the minute, no spot, no quantity in a launch. */
export const lambda = Effect.fnUntraced(function*({ apiKey, can: other, endpoint, name, sshKey }: LambdaOptions): Effect.fn.Return<Provider, never, HttpClient.HttpClient> {
  const can: Capabilities = { ...lambdaCapabilities, ...other }
  const client = yield* HttpClient.HttpClient
  const budget = yield* requestBudget(can.requestsEvery)
  const unclear = (doing: string, detail: string) => new ProviderUnclear({ provider: name, doing, detail })
  const at = (path: string) => `${endpoint.replace(/\/$/u, "")}/api/v1/${path}`

  /** One call: a success of the form that is documented, a documented refusal, or nothing clear. */
  const call = <A, I>(doing: string, form: Schema.Codec<A, I>, request: HttpClientRequest.HttpClientRequest, turn: Effect.Effect<void> = budget.any) =>
    Effect.andThen(turn, Effect.gen(function*() {
      const response = yield* client.execute(HttpClientRequest.bearerToken(request, apiKey))
      const body = yield* response.json
      if (response.status === 200) {
        const read = Schema.decodeUnknownResult(form)(body)
        return Result.isSuccess(read) ? { _tag: "Told", value: read.success } satisfies Told<A> : yield* unclear(doing, `an answer of another form: ${read.failure.message}`)
      }
      return yield* refusalOf(response, body, doing)
    }).pipe(
      Effect.timeout(answerMsMax),
      Effect.mapError((error) => (error._tag === "ProviderUnclear" ? error : unclear(doing, error._tag)))
    ))

  const ask = <A, I>(doing: string, form: Schema.Codec<A, I>, path: string, body: unknown, turn?: Effect.Effect<void>) =>
    call(doing, form, HttpClientRequest.post(at(path)).pipe(HttpClientRequest.bodyJsonUnsafe(body)), turn)

  const refusalOf = Effect.fnUntraced(function*(response: HttpClientResponse.HttpClientResponse, body: unknown, doing: string): Effect.fn.Return<Refusal, ProviderUnclear> {
    if (response.status === 429) {
      const nowMs = yield* Clock.currentTimeMillis
      const seconds = Number(response.headers["retry-after"] ?? "")
      return { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "it answered 429", untilMs: nowMs + (seconds > 0 ? seconds * 1000 : can.requestsEvery.createMs) }
    }
    const error = Schema.decodeUnknownResult(Failed)(body)
    const known = Result.isSuccess(error) ? refusals[error.success.error.code] : undefined
    // An error that nobody documented, and every 5xx, leaves open what has happened.
    if (known === undefined || Result.isFailure(error)) return yield* unclear(doing, `status ${response.status}`)
    return { _tag: "Refusal", ...known, detail: `${error.success.error.code}: ${error.success.error.message}`.slice(0, 400) }
  })

  /** Each launch needs the key; without it every type is refused as one that does not exist. */
  const keyIsThere = Effect.map(call("reading SSH keys", SshKeys, HttpClientRequest.get(at("ssh-keys"))), (told): Told<true> | Refusal =>
    told._tag === "Refusal" ? told : told.value.data.some((key) => key.name === sshKey) ? { _tag: "Told", value: true } : {
      _tag: "Refusal", reason: "invalid", narrows: "provider", detail: `the account has no SSH key named ${sshKey}, and each launch needs one; add it, or name another as sshKey`
    })

  /** What was refused, unless it is our key that is missing. */
  const keyOr = (refused: Refusal): Effect.Effect<Refusal> =>
    Effect.match(keyIsThere, { onFailure: () => refused, onSuccess: (key) => (key._tag === "Refusal" && key.reason === "invalid" ? key : refused) })

  const terminate = (machine: string): Effect.Effect<Told<"ending" | "not_there"> | Refusal, ProviderUnclear> =>
    Effect.map(ask("ending a machine", Terminated, "instance-operations/terminate", { instance_ids: [machine] }), (told) =>
      told._tag === "Told" ? { _tag: "Told", value: "ending" } : told.reason === "offer_gone" ? { _tag: "Told", value: "not_there" } : told)

  const launch = ({ askedAtMs, cell, column, token, userData }: Wish) => ({
    region_name: column.region,
    instance_type_name: column.machineType,
    ssh_key_names: [sshKey],
    name: token,
    user_data: userData,
    tags: [{ key: cellTag, value: cell }, { key: sinceTag, value: String(askedAtMs) }]
  })

  return {
    name,
    can,
    offers: Effect.map(call("reading what it offers", InstanceTypes, HttpClientRequest.get(at("instance-types"))), (told) =>
      told._tag === "Refusal" ? told : { _tag: "Told", value: { rows: Object.values(told.value.data).map(offerOf), source: at("instance-types") } }),
    create: (wish) =>
      Effect.flatMap(
        ask("buying a machine", Launched, "instance-operations/launch", launch(wish), budget.create(wish.maySend)),
        (told): Effect.Effect<Bought | Refusal, ProviderUnclear> => {
          // The code does not say what does not exist: the type, the region, or our key.
          if (told._tag === "Refusal") return told.reason === "offer_gone" ? keyOr(told) : Effect.succeed(told)
          const [machine] = told.value.data.instance_ids
          return machine === undefined ? Effect.fail(unclear("buying a machine", "it names no machine")) : Effect.succeed({ _tag: "Bought", machine })
        }
      ),
    list: Effect.map(call("listing machines", Instances, HttpClientRequest.get(at("instances"))), (told) =>
      told._tag === "Refusal" ? told : { _tag: "Told", value: told.value.data.map(listedOf) }),
    terminate,
    check: checksOf([
      ["instance-types", call("reading what it offers", InstanceTypes, HttpClientRequest.get(at("instance-types")))],
      ["instances", call("listing machines", Instances, HttpClientRequest.get(at("instances")))],
      [`ssh-keys/${sshKey}`, keyIsThere],
      // A launch of nothing, and the end of what is not there: refused for what they lack, where we might make them.
      ["instance-operations/launch", Effect.map(ask("trying a launch", Launched, "instance-operations/launch", {}, budget.create()), (told) => (told._tag === "Refusal" && told.reason === "invalid" ? { _tag: "Told" as const, value: undefined } : told))],
      ["instance-operations/terminate", Effect.map(terminate("0".repeat(32)), (told) => (told._tag === "Told" ? { ...told, value: undefined } : told))]
    ])
  }
})

const offerOf = ({ instance_type: type, regions_with_capacity_available: regions }: (typeof InstanceTypes.Type)["data"][string]): Offer => {
  const gpuModel = type.specs.gpus > 0 ? modelOf(type.gpu_description) : undefined
  const gpuMemoryMib = type.specs.gpus > 0 ? gpuMemoryMibOf(type.gpu_description) : undefined
  return {
    machineType: type.name,
    market: "on_demand",
    resources: { cpuMilli: type.specs.vcpus * 1000, memoryMib: type.specs.memory_gib * 1024, diskMib: type.specs.storage_gib * 1024, gpus: type.specs.gpus },
    ...(gpuModel === undefined ? {} : { gpuModel }),
    ...(gpuMemoryMib === undefined ? {} : { gpuMemoryMib }),
    pricePicoPerSecond: picoPerSecondOfCents(type.price_cents_per_hour),
    regions: regions.map((region) => region.name).sort()
  }
}

const standing: Readonly<Record<string, Listed["stands"]>> = {
  booting: "coming",
  active: "running",
  unhealthy: "running",
  terminating: "ending",
  terminated: "terminated",
  preempted: "reclaimed"
}

const listedOf = ({ id, instance_type, name, region, status, tags = [] }: Instance): Listed => {
  const cell = tags.find(({ key }) => key === cellTag)?.value
  const since = Number(tags.find(({ key }) => key === sinceTag)?.value ?? "")
  return {
    machine: id,
    region: region.name,
    machineType: instance_type.name,
    // A word that nobody documented costs money until it is known not to.
    stands: standing[status] ?? "running",
    pricePicoPerSecond: picoPerSecondOfCents(instance_type.price_cents_per_hour),
    ...(name === undefined || name === null ? {} : { token: name }),
    ...(cell === undefined ? {} : { cell }),
    ...(Number.isSafeInteger(since) && since > 0 ? { sinceMs: since } : {})
  }
}

/** What an entry of Lambda's says besides: the account's SSH key that each launch names, `millrace` where it names none. */
export const lambdaEntry = opening({ sshKey: Schema.optionalKey(Schema.NonEmptyString) }, ({ can, endpoint, key, name }, { sshKey = "millrace" }) =>
  lambda({ name, endpoint, apiKey: key, sshKey, can }))
