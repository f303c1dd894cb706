import type { Books, Machine } from "./books.ts"
import { regions, type Ware, wares } from "./prices.ts"
import type { Sky } from "./weather.ts"

/** What the pretend Lambda Cloud answers. `cut`: it does what was asked and the connection breaks. */
export interface Answer {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly cut?: boolean
}

export interface LambdaAccount {
  readonly apiKey: string
  readonly sshKeys: ReadonlyArray<string>
  /** The documented limits, in ms: any request, and launches. */
  readonly everyMs: { readonly any: number; readonly launch: number }
  readonly bootMs: number
  readonly endMs: number
}

export interface Request {
  readonly method: string
  readonly path: string
  readonly authorization: string
  readonly body: string
  readonly atMs: number
}

const failed = (status: number, code: string, message: string, suggestion = "See the API documentation."): Answer =>
  ({ status, body: { error: { code, message, suggestion } } })

const unauthorised = failed(401, "global/invalid-api-key", "API key was invalid, expired, or deleted.")

/**
 * Lambda's Cloud API as its OpenAPI description 1.10.0 has it, as far as instances go: authorisation by bearer or
 * basic, required fields and their forms, error codes, and the documented limits of one request a second and one
 * launch in twelve. Written from the description, not from whoever calls it.
 */
export class LambdaApi {
  readonly #account: LambdaAccount
  readonly #books: Books
  readonly #sky: Sky
  readonly #born: (machine: Machine) => void
  readonly #gone: (machine: Machine) => void
  #lastAtMs = Number.NEGATIVE_INFINITY
  #lastLaunchAtMs = Number.NEGATIVE_INFINITY
  #count = 0
  /** Requests that came faster than the documents allow: a well-behaved client causes none. */
  tooFast = 0

  constructor(account: LambdaAccount, books: Books, sky: Sky, born: (machine: Machine) => void, gone: (machine: Machine) => void) {
    this.#account = account
    this.#books = books
    this.#sky = sky
    this.#born = born
    this.#gone = gone
  }

  answer(request: Request): Answer {
    const { atMs, authorization, method, path } = request
    if (!this.#knows(authorization) || this.#sky.now.unauthorised) return unauthorised
    const launching = path === "/api/v1/instance-operations/launch"
    const slow = this.#tooSoon(atMs, launching)
    if (slow !== undefined) {
      this.tooFast += 1
      return this.#tooMany(slow)
    }
    if (this.#sky.strikes("tooMany")) return this.#tooMany(1_000)
    if (this.#sky.strikes("failing")) return failed(503, "global/internal-error", "Something broke.")
    this.#settle(atMs)
    const route = `${method} ${path}`
    if (route === "GET /api/v1/instance-types") return { status: 200, body: { data: this.#types() } }
    if (route === "GET /api/v1/ssh-keys") return { status: 200, body: { data: this.#account.sshKeys.map((name, at) => ({ id: String(at), name, public_key: "ssh-ed25519 AAAA" })) } }
    if (route === "GET /api/v1/instances") return { status: 200, body: { data: this.#books.all.filter((machine) => this.#isListed(machine, atMs)).map(instanceOf) } }
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

  /** What time has brought about: machines that are up, and machines that are gone. */
  #settle(atMs: number): void {
    for (const machine of this.#books.all) {
      if (machine.stands === "booting" && atMs >= machine.bornAtMs + this.#account.bootMs) machine.stands = "active"
      if (machine.stands === "terminating" && atMs >= (machine.endedAtMs ?? 0)) this.#books.end(machine, atMs)
    }
  }

  #isListed(machine: Machine, atMs: number): boolean {
    return machine.stands !== "terminated" && atMs >= machine.visibleAtMs
  }

  #types(): Record<string, unknown> {
    return Object.fromEntries(wares.map((ware) => [ware.name, {
      instance_type: typeOf(ware),
      regions_with_capacity_available: regions.filter((region) => this.#sky.hasCapacity(ware.name, region)).map(regionOf)
    }]))
  }

  #one(id: string, atMs: number): Answer {
    const machine = this.#books.get(id)
    return machine === undefined || !this.#isListed(machine, atMs)
      ? failed(404, "global/object-does-not-exist", "Specified instance does not exist.")
      : { status: 200, body: { data: instanceOf(machine) } }
  }

  #launch({ atMs, body }: Request): Answer {
    const wish = objectIn(body)
    const wrong = wish === undefined ? "the body is no JSON object" : malformed(wish)
    if (wish === undefined || wrong !== undefined) return failed(400, "global/invalid-parameters", `Invalid request data: ${wrong}`)
    const ware = wares.find(({ name }) => name === wish["instance_type_name"])
    const region = regions.find((name) => name === wish["region_name"])
    const sshKeys = wish["ssh_key_names"] as ReadonlyArray<string>
    if (ware === undefined || region === undefined || sshKeys.some((key) => !this.#account.sshKeys.includes(key))) {
      return failed(404, "global/object-does-not-exist", `${ware === undefined ? "instance type" : region === undefined ? "region" : "SSH key"} does not exist`)
    }
    if (this.#sky.now.quotaExceeded) return failed(400, "global/quota-exceeded", "Quota exceeded.")
    if (!this.#sky.hasCapacity(ware.name, region)) return failed(400, "instance-operations/launch/insufficient-capacity", "Not enough capacity to fulfill launch request.")
    const made = [this.#make(wish, ware, region, sshKeys, atMs)]
    if (this.#sky.strikes("doubled")) made.push(this.#make(wish, ware, region, sshKeys, atMs))
    const answer: Answer = { status: 200, body: { data: { instance_ids: [made[0]!.id] } } }
    return this.#sky.strikes("answersLost") ? { ...answer, cut: true } : answer
  }

  #make(wish: Record<string, unknown>, ware: Ware, region: string, sshKeys: ReadonlyArray<string>, atMs: number): Machine {
    this.#count += 1
    const machine: Machine = {
      id: `${Math.floor(atMs).toString(16).padStart(12, "0")}${this.#count.toString(16).padStart(20, "0")}`,
      name: typeof wish["name"] === "string" ? wish["name"] : "",
      ware,
      region,
      tags: (wish["tags"] ?? []) as Machine["tags"],
      sshKeys,
      userData: typeof wish["user_data"] === "string" ? wish["user_data"] : "",
      bornAtMs: atMs,
      visibleAtMs: atMs + this.#sky.now.invisibleMs,
      stands: "booting"
    }
    this.#books.add(machine)
    this.#born(machine)
    return machine
  }

  #terminate({ atMs, body }: Request): Answer {
    const ids = objectIn(body)?.["instance_ids"]
    if (!Array.isArray(ids) || ids.length === 0 || ids.some((id) => typeof id !== "string")) return failed(400, "global/invalid-parameters", "Invalid request data: instance_ids")
    const machines = ids.map((id: string) => this.#books.get(id))
    if (machines.some((machine) => machine === undefined || machine.stands === "terminated")) return failed(404, "global/object-does-not-exist", "Specified instance does not exist.")
    if (this.#sky.strikes("endsRefused")) return failed(500, "global/internal-error", "It could not be terminated.")
    for (const machine of machines as ReadonlyArray<Machine>) {
      if (machine.stands === "terminating") continue
      machine.stands = "terminating"
      machine.endedAtMs = atMs + this.#account.endMs
      this.#gone(machine)
    }
    return { status: 200, body: { data: { terminated_instances: (machines as ReadonlyArray<Machine>).map(instanceOf) } } }
  }
}

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

const typeOf = ({ centsPerHour, gpu, gpus, memoryGib, name, vcpus }: Ware) => ({
  name,
  description: gpus === 0 ? `${vcpus} vCPUs` : `${gpus}x ${gpu}`,
  gpu_description: gpu,
  price_cents_per_hour: centsPerHour,
  specs: { vcpus, memory_gib: memoryGib, storage_gib: 100, gpus }
})

const available = { available: true }

const instanceOf = ({ id, name, region, sshKeys, stands, tags, ware }: Machine) => ({
  id,
  name,
  status: stands,
  ssh_key_names: sshKeys,
  file_system_names: [],
  region: regionOf(region),
  instance_type: typeOf(ware),
  actions: { migrate: available, rebuild: available, restart: available, cold_reboot: available, terminate: available },
  tags
})
