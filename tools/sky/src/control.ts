import { Schema } from "effect"
import type { Answer, CloudRoom, Request } from "./cloud.ts"
import type { Power } from "./machines.ts"
import type { Site } from "./site.ts"
import { type Weather, WeatherChange } from "./weather.ts"

export interface OpenCloud {
  readonly site: Site
  readonly api: CloudRoom
  readonly url: string
}

interface Control {
  readonly clouds: ReadonlyMap<string, OpenCloud>
  /** Whose endpoint the request came to. */
  readonly here: string
  readonly power: Power
}

const decodeChange = Schema.decodeUnknownSync(Schema.fromJsonString(WeatherChange), { onExcessProperty: "error" })
const decodeMachine = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Struct({
  machine: Schema.NonEmptyString,
  noticeMs: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
})))

const failed = (status: number, code: string, message: string): Answer => ({ status, body: { error: { code: `sky/${code}`, message } } })

/**
 * What the sky is asked about itself, at any cloud's endpoint:
 *
 * - `GET /sky`: the clouds and their endpoints
 * - `GET`, `POST /sky/weather[/CLOUD]`
 * - `GET /sky/ledger[/CLOUD]`: what truly runs, and what each machine has truly cost
 * - `POST /sky/crash {machine}`: what runs there falls dead, and it costs on
 * - `POST /sky/reclaim {machine, noticeMs}`: its cloud takes it back, after so long
 *
 * Without a name it is about the cloud whose endpoint was asked.
 */
export const own = ({ clouds, here, power }: Control, { atMs, body, method, path }: Request): Answer => {
  const [, , what = "", named = here] = path.split("/")
  if (what === "") return { status: 200, body: { clouds: Object.fromEntries([...clouds].map(([name, { url }]) => [name, url])) } }
  const cloud = clouds.get(named)
  if (cloud === undefined) return failed(404, "unknown", `there is no cloud named ${named}; there are ${[...clouds.keys()].join(", ")}`)
  const { site } = cloud
  try {
    switch (`${method} ${what}`) {
      case "GET weather":
        return { status: 200, body: site.sky.now }
      case "POST weather":
        return { status: 200, body: site.sky.set(decodeChange(body) as Partial<Weather>) }
      case "GET ledger":
        site.settle(atMs)
        return { status: 200, body: ledger(cloud, atMs) }
      case "POST crash": {
        const { machine } = decodeMachine(body)
        return power.crash(machine) ? { status: 200, body: { machine } } : failed(404, "unknown", `no machine ${machine} runs here`)
      }
      case "POST reclaim": {
        const { machine: id, noticeMs = 0 } = decodeMachine(body)
        const owner = [...clouds.values()].find((one) => one.site.books.get(id) !== undefined)
        const machine = owner?.site.books.get(id)
        if (owner === undefined || machine === undefined || machine.stands === "terminated") return failed(404, "unknown", `no machine ${id} runs here`)
        if (owner.api.reclaim === undefined) owner.site.reclaim(machine, { atMs, noticeMs })
        else owner.api.reclaim(machine, { atMs, noticeMs })
        return { status: 200, body: { machine: id, reclaimAtMs: machine.reclaimAtMs } }
      }
      default:
        return failed(404, "unknown", "the sky has /sky, /sky/weather, /sky/ledger, /sky/crash and /sky/reclaim")
    }
  } catch (error) {
    return failed(400, "malformed", String(error))
  }
}

const ledger = ({ api, site }: OpenCloud, atMs: number) => ({
  cloud: site.cloud,
  running: site.books.running.map((machine) => {
    const { id, market, name, region, stands, ware, zone } = machine
    return { id, name, stands, said: site.said(machine), type: ware.name, region, zone, market }
  }),
  bills: site.books.bills(atMs),
  // What outlives its machine.
  left: api.left,
  // How often it was asked faster than the vendor's documents allow, where the room counts that.
  tooFast: "tooFast" in api ? api.tooFast : 0
})
