import type { Machine } from "../books.ts"
import type { Answer, Cloud, CloudRoom, Request } from "../cloud.ts"
import type { Ware } from "../prices.ts"
import type { Site } from "../site.ts"
import { lambdaRegions, lambdaWares } from "./wares.ts"

export interface LambdaAccount {
  readonly apiKey: string
  readonly sshKeys: ReadonlyArray<string>
  /** The documented limits, in ms: any request, and launches. */
  readonly everyMs: { readonly any: number; readonly launch: number }
}

/** A pretend Lambda Cloud to run in the sky. It bills whole minutes from the launch on, as the vendor's documents say. */
export const lambdaCloud = (
  { bootMs = 0, endMs = 0, everyMs = { any: 1_000, launch: 12_000 }, sshKeys = ["millrace"], ...account }: Pick<LambdaAccount, "apiKey"> & Partial<LambdaAccount> & { readonly bootMs?: number; readonly endMs?: number }
): Cloud<LambdaApi> => ({
  billing: { stepMs: 60_000, minMs: 60_000, from: "asked", until: "gone" },
  bootMs,
  endMs,
  open: (site) => new LambdaApi({ ...account, sshKeys, everyMs }, site)
})

const failed = (status: number, code: string, message: string, suggestion = "See the API documentation."): Answer =>
  ({ status, body: { error: { code, message, suggestion } } })

const unauthorised = failed(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.")

/**
 * Lambda's Cloud API as its OpenAPI description 1.10.0 has it, as far as instances go: authorisation by bearer or
 * basic, required fields and their forms, error codes, and the documented limits of one request a second and one
 * launch in twelve. Written from the description, not from whoever calls it.
 */
export class LambdaApi implements CloudRoom {
  readonly #account: LambdaAccount
  readonly #site: Site
  #lastAtMs = Number.NEGATIVE_INFINITY
  #lastLaunchAtMs = Number.NEGATIVE_INFINITY
  #count = 0
  /** Requests that came faster than the documents allow: a well-behaved client causes none. */
  tooFast = 0
  /** A launch makes nothing beside its machine: keys are the account's own. */
  readonly left: ReadonlyArray<string> = []

  constructor(account: LambdaAccount, site: Site) {
    this.#account = account
    this.#site = site
  }

  answer(request: Request): Answer {
    const { atMs, headers, method, path } = request
    const { sky } = this.#site
    if (!this.#knows(headers["authorization"] ?? "") || sky.now.unauthorised || sky.now.expired) return unauthorised
    const launching = path === "/api/v1/instance-operations/launch"
    const slow = this.#tooSoon(atMs, launching)
    if (slow !== undefined) {
      this.tooFast += 1
      return this.#tooMany(slow)
    }
    if (sky.strikes("tooMany")) return this.#tooMany(1_000)
    if (sky.strikes("failing")) return failed(503, "global/internal-error", "Something broke.")
    if (sky.now.forbidden.some((call) => path.startsWith(`/api/v1/${call}`))) return failed(403, "global/forbidden", "The key may not do this.")
    this.#site.settle(atMs)
    const route = `${method} ${path}`
    if (route === "GET /api/v1/instance-types") return { status: 200, body: { data: this.#types() } }
    if (route === "GET /api/v1/ssh-keys") return { status: 200, body: { data: this.#account.sshKeys.map((name, at) => ({ id: String(at), name, public_key: "ssh-ed25519 AAAA" })) } }
    if (route === "GET /api/v1/instances") return { status: 200, body: { data: this.#site.listed(atMs).filter((machine) => this.#site.said(machine) !== "terminated" || isNews(machine, atMs)).map(this.#instance) } }
    if (method === "GET" && path.startsWith("/api/v1/instances/")) return this.#one(path.slice("/api/v1/instances/".length), atMs)
    if (route === "POST /api/v1/instance-operations/launch") return this.#launch(request)
    if (route === "POST /api/v1/instance-operations/terminate") return this.#terminate(request)
    return failed(404, "global/not-found", "The requested resource was not found.")
  }

  #knows(authorization: string): boolean {
    const [scheme = "", given = ""] = authorization.split(" ")
    if (scheme.toLowerCase() === "bearer") return given === this.#account.apiKey
    return scheme.toLowerCase() === "basic" && Buffer.from(given, "base64").toString("utf8") === `${this.#account.apiKey}:`
  }

  /** How long to wait, where a request comes before its time. Clocks of two programs may differ by a little. */
  #tooSoon(atMs: number, launching: boolean): number | undefined {
    const { any, launch } = this.#account.everyMs
    const anyLeft = any * 0.9 - (atMs - this.#lastAtMs)
    const launchLeft = launching ? launch * 0.98 - (atMs - this.#lastLaunchAtMs) : 0
    if (anyLeft > 0 || launchLeft > 0) return Math.max(anyLeft, launchLeft)
    this.#lastAtMs = atMs
    if (launching) this.#lastLaunchAtMs = atMs
    return undefined
  }

  #tooMany(waitMs: number): Answer {
    return { ...failed(429, "global/too-many-requests", "Too many requests."), headers: { "retry-after": String(Math.max(1, Math.ceil(waitMs / 1000))) } }
  }

  #types(): Record<string, unknown> {
    return Object.fromEntries(lambdaWares.map((ware) => [ware.name, {
      instance_type: this.#type(ware),
      regions_with_capacity_available: lambdaRegions.filter((region) => this.#site.hasCapacity({ type: ware.name, region, market: "on_demand" })).map(regionOf)
    }]))
  }

  readonly #type = (ware: Ware) => typeOf(ware, this.#site.sky.priceOf(ware.picoPerHour, { type: ware.name, region: "", market: "on_demand" }))

  readonly #instance = (machine: Machine) => ({ ...instanceOf(machine), ssh_key_names: this.#account.sshKeys.slice(0, 1), status: machine.ended === "reclaimed" ? "preempted" : this.#site.said(machine), instance_type: typeOf(machine.ware, machine.soldPicoPerHour) })

  #one(id: string, atMs: number): Answer {
    const machine = this.#site.listed(atMs).find((one) => one.id === id)
    return machine === undefined || this.#site.said(machine) === "terminated"
      ? failed(404, "global/object-does-not-exist", "Specified instance does not exist.")
      : { status: 200, body: { data: this.#instance(machine) } }
  }

  #launch({ atMs, body }: Request): Answer {
    const { sky } = this.#site
    const wish = objectIn(body)
    const wrong = wish === undefined ? "the body is no JSON object" : malformed(wish)
    if (wish === undefined || wrong !== undefined) return failed(400, "global/invalid-parameters", `Invalid request data: ${wrong}`)
    const ware = lambdaWares.find(({ name }) => name === wish["instance_type_name"])
    const region = lambdaRegions.find((name) => name === wish["region_name"])
    const sshKeys = wish["ssh_key_names"] as ReadonlyArray<string>
    if (ware === undefined || region === undefined || sshKeys.some((key) => !this.#account.sshKeys.includes(key))) {
      return failed(404, "global/object-does-not-exist", `${ware === undefined ? "instance type" : region === undefined ? "region" : "SSH key"} does not exist`)
    }
    const wanted = { type: ware.name, region, market: "on_demand" }
    if (!sky.hasQuota(wanted)) return failed(400, "global/quota-exceeded", "Quota exceeded.")
    if (!this.#site.hasCapacity(wanted)) return failed(400, "instance-operations/launch/insufficient-capacity", "Not enough capacity to fulfill launch request.")
    const made = [this.#make(wish, ware, region, atMs)]
    if (sky.strikes("doubled")) made.push(this.#make(wish, ware, region, atMs))
    const answer: Answer = { status: 200, body: { data: { instance_ids: [made[0]!.id] } } }
    return sky.strikes("answersLost") ? { ...answer, cut: true } : answer
  }

  #make(wish: Record<string, unknown>, ware: Ware, region: string, atMs: number): Machine {
    this.#count += 1
    return this.#site.make({
      id: `${Math.floor(atMs).toString(16).padStart(12, "0")}${this.#count.toString(16).padStart(20, "0")}`,
      name: typeof wish["name"] === "string" ? wish["name"] : "",
      ware,
      region,
      market: "on_demand",
      tags: Object.fromEntries(((wish["tags"] ?? []) as ReadonlyArray<{ key: string; value: string }>).map(({ key, value }) => [key, value])),
      userData: typeof wish["user_data"] === "string" ? wish["user_data"] : "",
      picoPerHour: this.#site.sky.priceOf(ware.picoPerHour, { type: ware.name, region, market: "on_demand" })
    }, atMs)
  }

  #terminate({ atMs, body }: Request): Answer {
    const ids = objectIn(body)?.["instance_ids"]
    if (!Array.isArray(ids) || ids.length === 0 || ids.some((id) => typeof id !== "string")) return failed(400, "global/invalid-parameters", "Invalid request data: instance_ids")
    const machines = ids.flatMap((id: string) => this.#site.books.get(id) ?? [])
    if (machines.length < ids.length || machines.some((machine) => this.#site.said(machine) === "terminated")) return failed(404, "global/object-does-not-exist", "Specified instance does not exist.")
    for (const machine of machines) {
      const refused = this.#site.end(machine, atMs)
      if (refused === "minimum_term") return failed(400, "instance-operations/terminate/minimum-term", "The machine cannot be terminated yet.")
      if (refused !== undefined) return failed(500, "global/internal-error", "It could not be terminated.")
    }
    const answer: Answer = { status: 200, body: { data: { terminated_instances: machines.map(this.#instance) } } }
    return this.#site.sky.strikes("endAnswersLost") ? { ...answer, cut: true } : answer
  }
}

/** What nobody has asked to end is listed for a while after it has: failed while it came, or taken back. */
const newsMs = 60_000
const isNews = ({ ended, endedAtMs = 0 }: Machine, atMs: number): boolean => ended !== undefined && ended !== "asked" && atMs < endedAtMs + newsMs

const objectIn = (body: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined
  } catch {
    return undefined
  }
}

const isText = (value: unknown, max = Number.MAX_SAFE_INTEGER): boolean => typeof value === "string" && value.length <= max

/** The first field that the description does not allow. */
const malformed = (wish: Record<string, unknown>): string | undefined => {
  for (const field of ["region_name", "instance_type_name"]) if (!isText(wish[field])) return `${field} is missing`
  const keys = wish["ssh_key_names"]
  if (!Array.isArray(keys) || keys.length !== 1 || !isText(keys[0])) return "ssh_key_names wants exactly one name"
  if (wish["name"] !== undefined && !isText(wish["name"], 64)) return "name is longer than 64 characters"
  if (wish["hostname"] !== undefined && !(isText(wish["hostname"]) && /^[a-z0-9][0-9a-z-]{0,62}$/u.test(String(wish["hostname"])))) return "hostname"
  if (wish["user_data"] !== undefined && !isText(wish["user_data"], 1_000_000)) return "user_data is larger than 1 MB"
  const tags = wish["tags"] ?? []
  if (!Array.isArray(tags)) return "tags"
  for (const tag of tags as ReadonlyArray<Record<string, unknown>>) {
    if (!isText(tag["key"], 55) || !/^[a-z][a-z0-9-:]+$/u.test(String(tag["key"])) || !isText(tag["value"], 128)) return `tags: ${JSON.stringify(tag)}`
  }
  return undefined
}

const regionOf = (name: string) => ({ name, description: `${name} (pretended)` })

const typeOf = ({ gpu, gpus, memoryGib, name, vcpus }: Ware, picoPerHour: bigint) => ({
  name,
  description: gpus === 0 ? `${vcpus} vCPUs` : `${gpus}x ${gpu}`,
  gpu_description: gpu ?? "N/A",
  price_cents_per_hour: Number(picoPerHour / 10_000_000_000n),
  specs: { vcpus, memory_gib: memoryGib, storage_gib: 100, gpus }
})

const available = { available: true }

const instanceOf = ({ id, name, region, tags }: Machine) => ({
  id,
  name,
  file_system_names: [],
  region: regionOf(region),
  actions: { migrate: available, rebuild: available, restart: available, cold_reboot: available, terminate: available },
  tags: Object.entries(tags).map(([key, value]) => ({ key, value }))
})
