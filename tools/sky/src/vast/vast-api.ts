import type { Bill, Machine } from "../books.ts"
import type { Answer, Cloud, CloudRoom, Request } from "../cloud.ts"
import type { Site } from "../site.ts"
import { type Host, vastHosts } from "./hosts.ts"
import { type Listing, Market, type MarketOptions, minBidMicro } from "./market.ts"
import { found, malformedSearch } from "./search.ts"
import { carriedBy, type InstanceWish, wishIn } from "./wish.ts"

export interface VastAccount {
  readonly apiKey: string
  /** SSH keys of the account: without one, no virtual machine. */
  readonly sshKeys: ReadonlyArray<string>
  /** What the documented limits are multiplied with; 0: none. */
  readonly pace: number
  readonly market: MarketOptions
  /** For how long a host lets its machine: then the contract is over, and what ran there stops. */
  readonly rentMs: number
}

/** What is done where, by the path; and the shortest time between two of a kind, in ms, as each description says. */
const endpoints = [
  { name: "search offers", method: "POST", path: /^\/api\/v0\/bundles\/$/u, needs: "misc", everyMs: 6_000 },
  { name: "create instance", method: "PUT", path: /^\/api\/v0\/asks\/(\d+)\/$/u, needs: "instance_write", everyMs: 4_500 },
  { name: "show instances", method: "GET", path: /^\/api\/v1\/instances\/$/u, needs: "instance_read", everyMs: 1_000 },
  { name: "destroy instance", method: "DELETE", path: /^\/api\/v0\/instances\/(\d+)\/$/u, needs: "instance_write", everyMs: 3_000 },
  { name: "show charges", method: "GET", path: /^\/api\/v0\/charges\/$/u, needs: "billing_read", everyMs: 1_000 },
  { name: "show ssh-keys", method: "GET", path: /^\/api\/v0\/ssh\/$/u, needs: "user_read", everyMs: 1_000 }
] as const
type Endpoint = (typeof endpoints)[number]

/** One rented offer: what was agreed. */
interface Contract {
  readonly host: Host
  /** What is bid, without storage. Undefined: rented at the price. */
  readonly bidMicro: number | undefined
  readonly storageMicro: number
  readonly number: number
  readonly env: Readonly<Record<string, string>>
  /** Somebody has taken it for good. */
  lost: boolean
}

/** Charges run by the second: for storage from the request on, for the rest while it runs; see the vendor's page on billing. */
export const vastCloud = (
  { bootMs = 0, endMs = 0, market, ...account }: Pick<VastAccount, "apiKey"> & Partial<Omit<VastAccount, "market">> & {
    readonly market?: Partial<MarketOptions>
    readonly bootMs?: number
    readonly endMs?: number
  }
): Cloud<VastApi> => ({
  billing: { stepMs: 1_000, minMs: 0, from: "running", until: "end_asked" },
  bootMs,
  endMs,
  open: (site) => new VastApi({ sshKeys: ["ssh-ed25519 AAAA"], pace: 1, rentMs: 2_592_000_000, ...account, market: { seed: "vast", offerMs: 20_000, rivalMs: 600_000, ...market } }, site)
})

const failed = (status: number, error: string, msg: string, more: Record<string, unknown> = {}): Answer => ({ status, body: { success: false, error, msg, ...more } })
const dollarsOf = (micro: number): number => micro / 1e6
const picoOf = (micro: number): bigint => BigInt(micro) * 1_000_000n

/**
 * Vast.ai's API as far as renting goes, from the vendor's OpenAPI descriptions (vast-ai/vast-cli, `openapi/yaml`, 2026)
 * and its page on limits and errors: permissions, limits of each endpoint, forms of requests, error codes, pages.
 * A machine that is outbid stops without notice, costs its storage on, and runs again when its bid wins.
 */
export class VastApi implements CloudRoom {
  readonly #account: VastAccount
  readonly #site: Site
  readonly #market: Market
  readonly #contracts = new Map<Machine, Contract>()
  readonly #lastAtMs = new Map<string, number>()
  #count = 0
  /** Requests that came faster than the documents allow: a well-behaved client causes none. */
  tooFast = 0
  /** A contract is a machine and its disk in one, and keys are the account's own. */
  readonly left: ReadonlyArray<string> = []

  constructor(account: VastAccount, site: Site) {
    this.#account = account
    this.#site = site
    this.#market = new Market(account.market)
  }

  answer(request: Request): Answer {
    const { atMs, headers, method, path } = request
    const { sky } = this.#site
    this.settle(atMs)
    const endpoint = endpoints.find((one) => one.method === method && one.path.test(path))
    const stranger = this.#stranger(headers["authorization"])
    if (stranger !== undefined) return stranger
    if (endpoint === undefined) return failed(404, "not_found", "There is nothing here.")
    if (sky.now.forbidden.includes(endpoint.needs)) return { status: 403, body: { success: false, msg: `This action requires the permission ${endpoint.needs}.` } }
    if (this.#tooSoon(endpoint, atMs)) {
      this.tooFast += 1
      return tooMany(endpoint)
    }
    if (sky.strikes("tooMany")) return tooMany(endpoint)
    if (sky.strikes("failing")) return { status: 502, body: "<html><body>Bad Gateway</body></html>", headers: { "content-type": "text/html" } }
    switch (endpoint.name) {
      case "search offers":
        return this.#search(request)
      case "create instance":
        return this.#create(request, Number(endpoint.path.exec(path)?.[1]))
      case "show instances":
        return this.#instances(request)
      case "destroy instance":
        return this.#destroy(endpoint.path.exec(path)?.[1] ?? "", atMs)
      case "show charges":
        return this.#charges(request)
      case "show ssh-keys":
        return this.#account.sshKeys.length === 0 ? failed(404, "not_found", "No SSH keys found.") : { status: 200, body: this.#account.sshKeys.map((key, id) => ({ id: id + 1, user_id: 1, key })) }
    }
  }

  /** Who is not known is told so by 403, by 404 or by 401, as the descriptions have it. */
  #stranger(authorization: string | undefined): Answer | undefined {
    const { expired, unauthorised } = this.#site.sky.now
    if (authorization === undefined) return failed(403, "auth_error", "This action requires login.")
    if (expired) return failed(401, "auth_error", "Your key has expired.")
    return unauthorised || authorization !== `Bearer ${this.#account.apiKey}` ? failed(404, "auth_error", "Invalid user key") : undefined
  }

  #tooSoon({ everyMs, name }: Endpoint, atMs: number): boolean {
    // Clocks of two programs may differ by a little.
    if (atMs - (this.#lastAtMs.get(name) ?? Number.NEGATIVE_INFINITY) < everyMs * this.#account.pace * 0.95) return true
    this.#lastAtMs.set(name, atMs)
    return false
  }

  /** Who is outbid stops; who wins again runs again. */
  settle(atMs: number): void {
    this.#site.settle(atMs)
    for (const [machine, contract] of this.#contracts) {
      if (machine.stands === "terminating" || machine.stands === "terminated") continue
      const wins = this.#wins(machine, contract, atMs)
      if (machine.stands === "stopped" && wins) this.#site.start(machine, atMs)
      else if (machine.stands !== "stopped" && !wins) this.#site.stop(machine, atMs)
    }
  }

  #wins(machine: Machine, { bidMicro, host, lost }: Contract, atMs: number): boolean {
    if (lost || atMs >= machine.bornAtMs + this.#account.rentMs) return false
    if (bidMicro === undefined) return true
    const taken = [...this.#contracts].some(([other, one]) => other !== machine && one.host === host && one.bidMicro === undefined && other.stands !== "terminated")
    return !taken && bidMicro >= minBidMicro(this.#market.bids(host, atMs, this.#site.sky.now.spotPricePermille))
  }

  /** Somebody bids more than we ever will: without notice, and the machine is there still. */
  reclaim(machine: Machine, { atMs }: { readonly atMs: number }): void {
    const contract = this.#contracts.get(machine)
    if (contract !== undefined) contract.lost = true
    this.settle(atMs)
  }

  /** Offers of hosts that nobody has; those that only bid for theirs can be outbid. */
  #listings(atMs: number, market: "on_demand" | "spot"): ReadonlyArray<Listing> {
    const { sky } = this.#site
    return vastHosts.flatMap((host): ReadonlyArray<Listing> => {
      const listing = this.#market.listing(host, atMs, sky.now.spotPricePermille)
      const ours = [...this.#contracts].filter(([machine, one]) => one.host === host && machine.stands !== "terminated")
      if (listing === undefined || ours.some(([, one]) => one.bidMicro === undefined)) return []
      if (!this.#site.hasCapacity({ type: host.ware.name, region: host.place, market })) return []
      const above = Math.max(0, ...ours.map(([, one]) => (one.bidMicro ?? 0) + 1_000))
      return [{ ...listing, rivalMicro: Math.max(listing.rivalMicro, above) }]
    })
  }

  #row(listing: Listing, market: "on_demand" | "spot", diskGb: number): Record<string, unknown> {
    const { ask, host } = listing
    const free = this.#site.sky.priceOf(host.ware.picoPerHour, { type: host.ware.name, region: host.place, market }) === 0n
    const storage = storageMicro(host, diskGb)
    const base = free ? 0 : market === "spot" ? minBidMicro(listing) : listing.microPerHour
    return {
      id: ask, ask_contract_id: ask, bundle_id: ask, machine_id: host.number, host_id: host.number,
      gpu_name: host.ware.gpu ?? null, num_gpus: host.ware.gpus, gpu_ram: (host.ware.gpuMemoryGib ?? 0) * 1024, gpu_frac: 1, gpu_arch: "nvidia",
      cpu_arch: "amd64", cpu_cores: host.ware.vcpus, cpu_cores_effective: host.ware.vcpus, cpu_ram: host.ware.memoryGib * 1024, disk_space: host.diskGb,
      dph_base: dollarsOf(base), dph_total: dollarsOf(base + (free ? 0 : storage)), storage_cost: dollarsOf(host.storageMicroPerGbMonth), storage_total_cost: dollarsOf(storage),
      min_bid: dollarsOf(free ? 0 : minBidMicro(listing)), is_bid: market === "spot",
      reliability: host.reliability, reliability2: host.reliability, verified: host.verified, verification: host.verified ? "verified" : "unverified",
      rentable: true, rented: false, external: false, datacenter: false, geolocation: host.place, vms_enabled: host.vms, duration: this.#account.rentMs / 1000
    }
  }

  #search({ atMs, body }: Request): Answer {
    const query = objectIn(body)
    if (query === undefined) return { status: 400, body: { error: "invalid_request", msg: "Invalid json body" } }
    const sample = this.#row({ host: vastHosts[0]!, ask: 0, microPerHour: 0, floorMicro: 0, rivalMicro: 0 }, "on_demand", 8)
    const wrong = malformedSearch(query, sample)
    if (wrong !== undefined) return { status: 400, body: { error: "invalid_request", msg: `Error in query parameters: ${wrong}` } }
    const market = query["type"] === "bid" ? "spot" : "on_demand"
    const diskGb = Number(query["allocated_storage"] ?? 8)
    return { status: 200, body: { offers: query["type"] === "reserved" ? [] : found(query, this.#listings(atMs, market).map((listing) => this.#row(listing, market, diskGb))) } }
  }

  #create({ atMs, body }: Request, ask: number): Answer {
    const { sky } = this.#site
    const wish = wishIn(objectIn(body) ?? {})
    if ("error" in wish) return failed(400, wish.error, wish.msg, { ask_id: ask })
    const market = wish.price === undefined ? "on_demand" : "spot"
    const listing = this.#listings(atMs, market).find((one) => one.ask === ask)
    if (listing === undefined) return failed(404, "invalid_args", `error 404/3603: no_such_ask Instance type by id ${ask} is not available.`, { ask_id: ask })
    const { host } = listing
    if (wish.disk > host.diskGb || (wish.vm && !host.vms)) return failed(400, "invalid_args", `error 400/3467: Invalid args: ${wish.vm && !host.vms ? "'vm'" : "'disk'"}`, { ask_id: ask })
    if (wish.vm && this.#account.sshKeys.length === 0) return failed(400, "no_ssh_key_for_vm", "A virtual machine needs an SSH key of the account.", { ask_id: ask })
    if (!sky.hasQuota({ type: host.ware.name, region: host.place, market })) return failed(400, "insufficient_credit", "Your account lacks credit; see the billing page.", { ask_id: ask })
    const bidMicro = wish.price === undefined ? undefined : Math.round(wish.price * 1e6)
    if (bidMicro !== undefined && bidMicro < listing.floorMicro) return failed(400, "invalid_price", `error 400/3471: The bid is below the host's minimum of ${dollarsOf(listing.floorMicro)}.`, { ask_id: ask })
    const starts = bidMicro === undefined || bidMicro >= minBidMicro(listing)
    if (!starts && wish.cancelUnavail) return failed(410, "no_such_ask", `error 410/3907: no_such_ask Instance type ${ask} is no longer available.`, { ask_id: ask })
    const made = this.#make(wish, listing, bidMicro, atMs)
    if (sky.strikes("doubled")) this.#make(wish, listing, bidMicro, atMs)
    this.settle(atMs)
    const answer: Answer = { status: 200, body: { success: true, new_contract: Number(made.id) } }
    return sky.strikes("answersLost") ? { ...answer, cut: true } : answer
  }

  #make(wish: InstanceWish, { host, microPerHour }: Listing, bidMicro: number | undefined, atMs: number): Machine {
    this.#count += 1
    const storage = storageMicro(host, wish.disk)
    const market = bidMicro === undefined ? "on_demand" : "spot"
    const machine = this.#site.make({
      id: String(20_000_000 + this.#count),
      name: wish.label,
      ware: host.ware,
      region: host.place,
      market,
      tags: wish.env,
      userData: carriedBy(wish.onstart),
      picoPerHour: picoOf((bidMicro ?? microPerHour) + storage),
      idlePicoPerHour: picoOf(storage)
    }, atMs)
    this.#contracts.set(machine, { host, bidMicro, storageMicro: storage, number: Number(machine.id), env: wish.env, lost: false })
    return machine
  }

  #instances({ atMs, query }: Request): Answer {
    const limit = Number(query.get("limit") ?? 25)
    const after = idIn(query.get("after_token"))
    if (after === undefined) return failed(400, "invalid_token", "Invalid pagination token")
    const order: unknown = jsonIn(query.get("order_by") ?? "[]")
    if (!Array.isArray(order) || order.some((by: { col?: unknown }) => by?.col !== "id")) return failed(400, "invalid_request", "Error in query parameters: order_by")
    const all = this.#site.listed(atMs).filter((machine) => this.#site.said(machine) !== "terminated").sort((a, b) => Number(a.id) - Number(b.id))
    const rest = all.filter(({ id }) => Number(id) > after)
    const page = rest.slice(0, limit <= 0 ? 5 : Math.min(25, limit))
    const last = page.at(-1)
    return {
      status: 200,
      body: {
        success: true,
        instances_found: page.length,
        total_instances: all.length,
        next_token: last !== undefined && page.length < rest.length ? tokenOf(Number(last.id)) : null,
        instances: page.map((machine) => this.#instance(machine))
      }
    }
  }

  #instance(machine: Machine): Record<string, unknown> {
    const contract = this.#contracts.get(machine)
    const { actual, contract: state } = words[this.#site.said(machine)]
    const storage = contract?.storageMicro ?? 0
    return {
      id: Number(machine.id),
      label: machine.name === "" ? null : machine.name,
      actual_status: actual,
      cur_state: state,
      next_state: state,
      intended_status: "running",
      extra_env: Object.entries(machine.tags),
      gpu_name: machine.ware.gpu ?? null,
      num_gpus: machine.ware.gpus,
      geolocation: machine.region,
      is_bid: machine.market === "spot",
      dph_total: Number(machine.soldPicoPerHour / 1_000_000n) / 1e6,
      storage_total_cost: dollarsOf(storage),
      start_date: machine.bornAtMs / 1000,
      end_date: (machine.bornAtMs + this.#account.rentMs) / 1000,
      machine_id: contract?.host.number ?? 0
    }
  }

  #destroy(id: string, atMs: number): Answer {
    const machine = this.#site.books.get(id)
    if (machine === undefined || this.#site.said(machine) === "terminated") return failed(404, "not_found", "Instance not found")
    // An answer that is no success, though its status says so.
    if (this.#site.end(machine, atMs) !== undefined) return { status: 200, body: { success: false, msg: "The instance cannot be destroyed now." } }
    const answer: Answer = { status: 200, body: { success: true, msg: "Instance destroyed successfully" } }
    return this.#site.sky.strikes("endAnswersLost") ? { ...answer, cut: true } : answer
  }

  #charges({ atMs, query }: Request): Answer {
    const filters = objectIn(query.get("select_filters") ?? "{}")
    const day = filters?.["day"] as { readonly gte?: unknown; readonly lte?: unknown } | undefined
    const limit = Number(query.get("limit") ?? 100)
    const after = idIn(query.get("after_token"))
    if (typeof day?.gte !== "number" || typeof day.lte !== "number") return { status: 400, body: { success: false, msg: "Must provide both 'day' gte and lte filters for instance charges" } }
    if (after === undefined) return failed(400, "invalid_token", "Invalid pagination token")
    if (!(limit > 0)) return { status: 500, body: "Internal Server Error" }
    const from = day.gte * 1000
    const until = day.lte * 1000
    const bills = this.#site.books.bills(atMs).filter(({ endedAtMs = atMs, machine, sinceMs }) => Number(machine) > after && sinceMs <= until && endedAtMs >= from)
      .sort((a, b) => Number(a.machine) - Number(b.machine))
    const page = bills.slice(0, Math.min(500, limit))
    const last = page.at(-1)
    return {
      status: 200,
      body: { success: true, count: page.length, total: bills.length, results: page.map(chargeOf), next_token: last !== undefined && page.length < bills.length ? tokenOf(Number(last.machine)) : null }
    }
  }
}

/** What the vendor calls each standing: of the container, and of the contract. */
const words = {
  booting: { actual: "loading", contract: "running" },
  active: { actual: "running", contract: "running" },
  stopped: { actual: "exited", contract: "stopped" },
  terminating: { actual: "exited", contract: "unloaded" },
  terminated: { actual: "offline", contract: "unloaded" }
} as const

/** A month is 730 hours here; the vendor's own count is not documented. */
const storageMicro = ({ storageMicroPerGbMonth }: Host, diskGb: number): number => Math.round((storageMicroPerGbMonth * diskGb) / 730)

/** Plain text or JSON, by the endpoint; never a header that says when to come again. */
const tooMany = ({ everyMs, name }: Endpoint): Answer => {
  const text = `API requests too frequent: endpoint threshold=${(everyMs / 1000).toFixed(1)}`
  if (name === "destroy instance") return failed(429, "rate_limit_exceeded", text)
  return name === "search offers" ? { status: 429, body: { detail: text } } : { status: 429, body: text }
}

const chargeOf = ({ billedMs, costPico, machine, name, sinceMs }: Bill) => ({
  start: Math.floor(sinceMs / 1000),
  end: Math.ceil((sinceMs + billedMs) / 1000),
  type: "instance",
  source: `instance-${machine}`,
  description: `Instance ${machine} Charges`,
  amount: Number(costPico / 1_000_000n) / 1e6,
  metadata: { label: name },
  items: []
})

const tokenOf = (id: number): string => Buffer.from(JSON.stringify({ values: { id } })).toString("base64")

/** The id behind which a page begins: 0 where none is asked for. */
const idIn = (token: string | null): number | undefined => {
  if (token === null) return 0
  const id = (jsonIn(Buffer.from(token, "base64").toString("utf8")) as { values?: { id?: unknown } } | undefined)?.values?.id
  return typeof id === "number" ? id : undefined
}

const jsonIn = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const objectIn = (text: string): Record<string, unknown> | undefined => {
  const value = jsonIn(text)
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined
}
