import { Clock, Effect, type Scope } from "effect"
import type { Books } from "./books.ts"
import type { Cloud, CloudRoom } from "./cloud.ts"
import { type OpenCloud, own } from "./control.ts"
import { dark, type Power } from "./machines.ts"
import { serve } from "./serve.ts"
import { Site } from "./site.ts"
import type { Sky, Weather } from "./weather.ts"

type Clouds = Readonly<Record<string, Cloud<CloudRoom>>>

export interface SkyOptions<All extends Clouds> {
  /** By the name that the ledger, the weather and `millrace sky` know each under. Several may speak one vendor's protocol. */
  readonly clouds: All
  /** The first cloud's port; the others follow it. 0, as by default, takes free ones. */
  readonly port?: number
  readonly weather?: Partial<Weather>
  /** What runs on the machines. `dark`, as by default: nothing. */
  readonly power?: Power
}

/** A pretend cloud that runs. */
export interface RunningCloud<Room extends CloudRoom = CloudRoom> {
  /** The endpoint to give a broker: it speaks the vendor's protocol. */
  readonly url: string
  readonly site: Site
  readonly books: Books
  readonly weather: Sky
  readonly api: Room
}

/** All that run, by name. */
export type RunningSky<All extends Clouds = Clouds> = { readonly [Name in keyof All]: RunningCloud<All[Name] extends Cloud<infer Room> ? Room : never> }

/** How often time is looked at without anybody asking: machines are taken back though no one calls. */
const settleEveryMs = 200

/**
 * Runs pretend clouds on 127.0.0.1 for as long as the scope lives, each with an endpoint, a ledger and a weather of
 * its own; machines are powered by one hand. What lies under `/sky/` is not the vendors': see `control.ts`.
 */
export const startSky = Effect.fnUntraced(function*<const All extends Clouds>({
  clouds, port = 0, power = dark, weather = {}
}: SkyOptions<All>): Effect.fn.Return<RunningSky<All>, Error, Scope.Scope> {
  const clock = yield* Clock.Clock
  yield* Effect.addFinalizer(() => Effect.promise(power.allOff))
  const open = new Map<string, OpenCloud>()
  const running: Record<string, RunningCloud> = {}
  for (const [at, [cloud, { open: enter, tls, ...options }]] of Object.entries(clouds).entries()) {
    const site = new Site({ ...options, cloud, power, weather })
    const api = enter(site)
    const url = yield* serve({
      port: port === 0 ? 0 : port + at,
      slowMs: () => site.sky.now.slowMs,
      answer: (request) => {
        if (request.path.startsWith("/sky/") || request.path === "/sky") return own({ clouds: open, here: cloud, power }, request)
        return site.sky.now.down ? { status: 0, body: "", cut: true } : api.answer(request)
      },
      clock,
      tls
    })
    open.set(cloud, { site, api, url })
    running[cloud] = { url, site, api, books: site.books, weather: site.sky }
  }
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(settleEveryMs), Effect.sync(() => {
    for (const { api, site } of open.values()) {
      const atMs = clock.currentTimeMillisUnsafe()
      site.settle(atMs)
      api.settle?.(atMs)
    }
  }))))
  return running as RunningSky<All>
})
