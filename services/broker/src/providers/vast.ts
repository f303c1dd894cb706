import type { Offer, ProviderName } from "@millrace/schemas"
import { Clock, Effect, type Redacted, Result, Schema } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Listed } from "../domain/sweep.ts"
import { checksOf } from "./checks.ts"
import { opening } from "./entry.ts"
import { answerMsMax, type BillLine, type Bought, type Capabilities, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "./provider.ts"
import { spaced, type Turn } from "./request-budget.ts"
import { onstartMax, onstartOf } from "./vast-boot.ts"
import { bidOf, byWorth, isDearer, type Market, offersOf } from "./vast-offers.ts"
import {
  type Ask, Asks, Charges, codeOf, Created, Destroyed, Failed, type Instance, Instances, labelOf, machineTypeOf, picoPerSecondOfDollars, readLabel,
  regionOf, SshKeys
} from "./vast-words.ts"

/** Where Vast.ai's API is, as whom we speak to it, and what its machines start with. */
export interface VastOptions {
  readonly name: ProviderName
  readonly endpoint: string
  readonly apiKey: Redacted.Redacted
  /** The images with our agent: of a virtual machine, and of a container. */
  readonly images: { readonly machine: string; readonly container: string }
  readonly diskGb?: number
  /** How surely a host must stay up to be offered at all, in thousandths. */
  readonly reliabilityPermilleMin?: number
  readonly can?: Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">>
}

export const vastCapabilities: Capabilities = {
  manner: "market",
  // What an offer does not say otherwise of itself.
  sells: "containers",
  spot: true,
  // Who is outbid is stopped at once.
  noticeMs: undefined,
  fabric: false,
  deadManMs: undefined,
  endsWhenOff: false,
  userData: true,
  // The create has no idempotency key; the label is ours, so we look before we ask again.
  idempotent: false,
  visibleWithinMs: 20_000,
  requestsEvery: { anyMs: 3_000, createMs: 4_500 },
  billedStepMs: 1_000,
  billedMsMin: 0,
  writtenFrom: "Vast.ai OpenAPI 1.0.0 (vast-ai/vast-cli, openapi/yaml, 2026)"
}

/** The vendor limits each endpoint by itself: so long between two requests, in ms. */
const everyMs = { search: 6_000, create: 4_500, list: 1_000, end: 3_000, charges: 1_000, keys: 1_000 }
type Endpoint = keyof typeof everyMs

const minute = 60_000
const offersMax = 3_000
/** "Input validation" of the description: a label has so many characters at most. */
const labelMax = 256
const pagesMax = 400
/** From so long before a contract ends, its end is told as a reclaim. */
const endToldMs = 60 * minute

/** What the vendor's own codes mean, and what else would get the same answer. */
const refusals: Readonly<Record<string, Pick<Refusal, "reason" | "narrows"> & { readonly remedy?: string }>> = {
  no_such_ask: { reason: "offer_gone", narrows: "offer" },
  not_found: { reason: "offer_gone", narrows: "offer" },
  no_such_instance: { reason: "offer_gone", narrows: "offer" },
  invalid_price: { reason: "price_moved", narrows: "offer" },
  invalid_args: { reason: "invalid", narrows: "type" },
  invalid_request: { reason: "invalid", narrows: "type" },
  no_ssh_key_for_vm: { reason: "invalid", narrows: "provider", remedy: "add an SSH key to the account" },
  insufficient_credit: { reason: "quota", narrows: "provider", remedy: "add credit to the account" },
  auth_error: { reason: "unauthorised", narrows: "provider" }
}

/** Vast.ai: a market of single offers that live for seconds, at a price or for the highest bid, as virtual machines or as containers. */
export const vast = Effect.fnUntraced(function*(
  { apiKey, can: other, diskGb = 64, endpoint, images, name, reliabilityPermilleMin = 950 }: VastOptions
): Effect.fn.Return<Provider, never, HttpClient.HttpClient> {
  const can: Capabilities = { ...vastCapabilities, ...other }
  const client = yield* HttpClient.HttpClient
  const turns = yield* turnsOf(other?.requestsEvery)
  const unclear = (doing: string, detail: string) => new ProviderUnclear({ provider: name, doing, detail })
  const at = (path: string) => `${endpoint.replace(/\/$/u, "")}/api/${path}`
  /** What the last look at the market said of each offer: how it is sold, and the price of its storage. */
  let known: ReadonlyMap<string, Ask> = new Map()

  /** One call: a success of the form that is documented, a documented refusal, or nothing clear. */
  const call = <A, I>(of: Endpoint, doing: string, form: Schema.Codec<A, I>, request: HttpClientRequest.HttpClientRequest, last?: Effect.Effect<void>): Effect.Effect<Told<A> | Refusal, ProviderUnclear> =>
    Effect.andThen(turns[of](last), Effect.gen(function*() {
      const { status, text } = yield* Effect.flatMap(client.execute(HttpClientRequest.bearerToken(request, apiKey)), (response) =>
        Effect.map(response.text, (text) => ({ status: response.status, text })))
      if (status === 429) return tooFrequent(of, text, yield* Clock.currentTimeMillis)
      const body = jsonIn(text)
      const failed = Result.getOrElse(Schema.decodeUnknownResult(Failed)(body), (): typeof Failed.Type => ({}))
      // "OK" with `success: false` is an error like any other.
      if (status === 200 && failed.success !== false) {
        const read = Schema.decodeUnknownResult(form)(body)
        return Result.isSuccess(read) ? { _tag: "Told", value: read.success } satisfies Told<A> : yield* unclear(doing, `an answer of another form: ${read.failure.message}`)
      }
      return refusalOf(status, failed) ?? (yield* unclear(doing, `status ${status}${failed.msg ? `: ${failed.msg}` : ""}`.slice(0, 400)))
    }).pipe(
      Effect.timeout(answerMsMax),
      Effect.mapError((error) => (error._tag === "ProviderUnclear" ? error : unclear(doing, error._tag)))
    ))

  const search = (market: Market, filter: Readonly<Record<string, unknown>> = {}) =>
    call("search", "reading what it offers", Asks, HttpClientRequest.post(at("v0/bundles/")).pipe(HttpClientRequest.bodyJsonUnsafe({
      type: market === "spot" ? "bid" : "on-demand",
      verified: { eq: true },
      rentable: { eq: true },
      rented: { eq: false },
      reliability: { gte: reliabilityPermilleMin / 1000 },
      order: [["dph_total", "asc"]],
      allocated_storage: diskGb,
      limit: offersMax,
      ...filter
    })))

  /** Everything over all pages, or the first refusal. A list without an end is no list. */
  const pages = Effect.fnUntraced(function*<A, P extends { readonly next_token?: string | null }>(
    doing: string, page: (after: string | undefined) => Effect.Effect<Told<P> | Refusal, ProviderUnclear>, rows: (page: P) => ReadonlyArray<A>
  ): Effect.fn.Return<Told<ReadonlyArray<A>> | Refusal, ProviderUnclear> {
    const all: Array<A> = []
    let after: string | undefined
    for (let read = 0; read < pagesMax; read += 1) {
      const told = yield* page(after)
      if (told._tag === "Refusal") return told
      all.push(...rows(told.value))
      after = told.value.next_token ?? undefined
      if (after === undefined) return { _tag: "Told", value: all }
    }
    return yield* unclear(doing, `it has more than ${pagesMax} pages`)
  })

  const instances = (limit = 25) => (after: string | undefined) =>
    call("list", "listing machines", Instances, HttpClientRequest.get(at("v1/instances/")).pipe(HttpClientRequest.setUrlParams({
      limit: String(limit),
      order_by: JSON.stringify([{ col: "id", dir: "asc" }]),
      ...(after === undefined ? {} : { after_token: after })
    })))

  const charges = (fromMs: number, untilMs: number, limit = 500) => (after: string | undefined) =>
    call("charges", "reading what it charges", Charges, HttpClientRequest.get(at("v0/charges/")).pipe(HttpClientRequest.setUrlParams({
      select_filters: JSON.stringify({ day: { gte: Math.floor(fromMs / 1000), lte: Math.ceil(untilMs / 1000) }, type: { in: ["instance"] } }),
      limit: String(limit),
      ...(after === undefined ? {} : { after_token: after })
    })))

  /** What we know of an offer that somebody chose: from the last look, or from one of its own. */
  const askOf = Effect.fnUntraced(function*(offer: string, market: Market): Effect.fn.Return<Told<Ask> | Refusal, ProviderUnclear> {
    const seen = known.get(`${market} ${offer}`)
    if (seen !== undefined) return { _tag: "Told", value: seen }
    const told = yield* search(market, { id: { eq: Number(offer) }, limit: 1 })
    if (told._tag === "Refusal") return told
    const found = told.value.offers.find(({ id }) => String(id) === offer)
    return found === undefined ? about(offer, "offer_gone", "it is not on the market any more") : { _tag: "Told", value: found }
  })

  const create = Effect.fnUntraced(function*(wish: Wish): Effect.fn.Return<Bought | Refusal, ProviderUnclear> {
    const { offer } = wish.column
    const market = wish.column.market === "spot" ? "spot" : "on_demand"
    const onstart = onstartOf(wish.userData)
    if (offer === undefined || !/^\d{1,15}$/u.test(offer)) return about(offer ?? "of the wish", "offer_gone", "only single offers can be bought here, and this is the number of none")
    const label = labelOf({ token: wish.token, cell: wish.cell, sinceMs: wish.askedAtMs })
    if (label.length > labelMax) return invalid(`the name of the cell is too long: with the machine's own it makes a label of more than ${labelMax} characters`)
    if (onstart === undefined) return invalid(`the user data makes no start script of ${onstartMax} characters; shorten the settings of the agent`)
    const ask = yield* askOf(offer, market)
    if (ask._tag === "Refusal") return ask
    const bid = market === "spot" ? bidOf(ask.value, wish.pricePicoPerSecondMax) : undefined
    if (isDearer(market, ask.value, wish.pricePicoPerSecondMax)) return about(offer, "price_moved", "it costs more than when it was chosen")
    const vm = ask.value.vms_enabled === true
    const told = yield* call("create", "buying a machine", Created, HttpClientRequest.put(at(`v0/asks/${offer}/`)).pipe(HttpClientRequest.bodyJsonUnsafe({
      client_id: "me",
      image: vm ? images.machine : images.container,
      vm,
      runtype: "ssh",
      disk: diskGb,
      label,
      onstart,
      target_state: "running",
      // Without it, a machine that cannot start now comes stopped, and costs its storage.
      cancel_unavail: true,
      ...(bid === undefined ? {} : { price: bid })
    })), wish.maySend)
    return told._tag === "Refusal" ? told : { _tag: "Bought", machine: String(told.value.new_contract) }
  })

  const destroy = (machine: string): Effect.Effect<Told<"ending" | "not_there"> | Refusal, ProviderUnclear> =>
    Effect.map(call("end", "ending a machine", Destroyed, HttpClientRequest.delete(at(`v0/instances/${encodeURIComponent(machine)}/`))), (told) =>
      told._tag === "Told" ? { _tag: "Told", value: "ending" } : told.reason === "offer_gone" ? { _tag: "Told", value: "not_there" } : told)

  return {
    name,
    can,
    offers: Effect.gen(function*() {
      const fixed = yield* search("on_demand")
      if (fixed._tag === "Refusal") return fixed
      const bids = yield* search("spot")
      if (bids._tag === "Refusal") return bids
      known = new Map([...fixed.value.offers.map((ask) => [`on_demand ${ask.id}`, ask] as const), ...bids.value.offers.map((ask) => [`spot ${ask.id}`, ask] as const)])
      const rows: ReadonlyArray<Offer> = [...offersOf("on_demand", fixed.value.offers, diskGb), ...offersOf("spot", bids.value.offers, diskGb)]
      return { _tag: "Told", value: { rows: byWorth(rows), source: at("v0/bundles/") } }
    }),
    create,
    list: Effect.gen(function*() {
      const told = yield* pages("listing machines", instances(), (page) => page.instances)
      const nowMs = yield* Clock.currentTimeMillis
      return told._tag === "Refusal" ? told : { _tag: "Told", value: told.value.map((one) => listedOf(one, nowMs)) }
    }),
    terminate: destroy,
    check: Effect.flatMap(Clock.currentTimeMillis, (nowMs) => checksOf([
      ["misc: search offers", search("on_demand", { limit: 1 })],
      ["instance_read: show instances", instances(1)(undefined)],
      // No instance has the number 0: that it is not there says only whether we might have ended it.
      ["instance_write: destroy instance", Effect.map(destroy("0"), (told) => (told._tag === "Told" || told.reason === "invalid" ? { _tag: "Told" as const, value: undefined } : told))],
      ["user_read: show ssh-keys", Effect.map(call("keys", "reading SSH keys", SshKeys, HttpClientRequest.get(at("v0/ssh/"))), (told): Told<unknown> | Refusal =>
        told._tag === "Told" && told.value.length === 0 || told._tag === "Refusal" && told.reason === "offer_gone"
          ? invalid("the account has no SSH key, and each virtual machine needs one at its start; add one") : told)],
      ["billing_read: show charges", charges(nowMs - 24 * 60 * minute, nowMs, 1)(undefined)]
    ])),
    bill: (fromMs, untilMs) => Effect.map(pages("reading what it charges", charges(fromMs, untilMs), (page) => page.results), (told) =>
      told._tag === "Refusal" ? told : { _tag: "Told", value: told.value.flatMap(billLineOf) })
  }
})

/** One budget an endpoint. Other limits than the documented ones hold for creates, and for all else. */
const turnsOf = Effect.fnUntraced(function*(other: Capabilities["requestsEvery"] | undefined): Effect.fn.Return<Readonly<Record<Endpoint, Turn>>> {
  const turn = (of: Endpoint) => spaced(other === undefined ? everyMs[of] : of === "create" ? other.createMs : other.anyMs)
  return {
    search: yield* turn("search"),
    create: yield* turn("create"),
    list: yield* turn("list"),
    end: yield* turn("end"),
    charges: yield* turn("charges"),
    keys: yield* turn("keys")
  }
})

const jsonIn = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const about = (offer: string, reason: "offer_gone" | "price_moved", detail: string): Refusal =>
  ({ _tag: "Refusal", reason, narrows: "offer", detail: `the offer ${offer}: ${detail}` })
const invalid = (detail: string): Refusal => ({ _tag: "Refusal", reason: "invalid", narrows: "provider", detail })

/** The answer names the seconds between two requests; often it is plain text, and no header says when to come again. */
const tooFrequent = (of: Endpoint, text: string, nowMs: number): Refusal => {
  const seconds = Number(/threshold=(\d+(?:\.\d+)?)/u.exec(text)?.[1] ?? "")
  return { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: `it answered 429: ${text.slice(0, 200)}`, untilMs: nowMs + (seconds > 0 ? Math.ceil(seconds * 1000) : everyMs[of]) }
}

/** A documented error. One that nobody documented, and every 5xx, leaves open what has happened. */
const refusalOf = (status: number, failed: typeof Failed.Type): Refusal | undefined => {
  if (status >= 500) return undefined
  const code = codeOf(failed)
  // A key without the permission, or none at all; "not your own offer" says so with another code.
  const meant = (code === undefined ? undefined : refusals[code]) ?? (status === 401 || status === 403 ? refusals["auth_error"] : undefined)
  if (meant === undefined) return undefined
  const detail = [code ?? `status ${status}`, failed.msg, meant.remedy].filter((part) => part !== undefined && part !== null).join(": ").slice(0, 400)
  return { _tag: "Refusal", reason: meant.reason, narrows: status === 403 && meant.reason === "invalid" ? "offer" : meant.narrows, detail }
}

/** The contract counts, not the container: one that has stopped costs its storage until we end it. */
const listedOf = (one: Instance, nowMs: number): Listed => {
  const { cell, sinceMs, token } = readLabel(one.label)
  const stopped = one.cur_state === "stopped" || one.intended_status === "stopped"
  const endsAtMs = Math.round((one.end_date ?? Number.POSITIVE_INFINITY) * 1000)
  // We stop nothing ourselves: who is stopped was outbid, or the host or the contract is at an end.
  const reclaimAtMs = stopped ? nowMs : endsAtMs - nowMs <= endToldMs ? endsAtMs : undefined
  return {
    machine: String(one.id),
    region: regionOf(one.geolocation),
    machineType: machineTypeOf(one),
    stands: one.cur_state === "unloaded" ? "ending" : stopped || isUp(one.actual_status) ? "running" : "coming",
    market: one.is_bid === true ? "spot" : "on_demand",
    pricePicoPerSecond: picoPerSecondOfDollars((stopped ? one.storage_total_cost : one.dph_total) ?? 0),
    ...(token === undefined ? {} : { token }),
    ...(cell === undefined ? {} : { cell }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(reclaimAtMs === undefined ? {} : { reclaimAtMs })
  }
}

/** A word that nobody documented costs money until it is known not to. */
const isUp = (actual: string | null | undefined): boolean => actual !== undefined && actual !== null && actual !== "created" && actual !== "loading"

const billLineOf = ({ amount, end, source, start }: (typeof Charges.Type)["results"][number]): ReadonlyArray<BillLine> => {
  const machine = /^instance-(\d+)$/u.exec(source ?? "")?.[1]
  return machine === undefined ? [] : [{ machine, fromMs: Math.round(start * 1000), untilMs: Math.round(end * 1000), amountPico: BigInt(Math.round(amount * 1e6)) * 1_000_000n }]
}

/** What an entry of Vast.ai's says besides: the images with our agent, a machine's and a container's. */
export const vastEntry = opening({ images: Schema.Struct({ machine: Schema.NonEmptyString, container: Schema.NonEmptyString }) }, ({ can, endpoint, key, name }, { images }) =>
  vast({ name, endpoint, apiKey: key, images, can }))
