import type { Chance, Sometimes, VirtualTime } from "@millrace/sim"
import type { Offer, ProviderName } from "@millrace/schemas"
import { Clock, Effect } from "effect"
import { costPico } from "../domain/money.ts"
import type { Listed } from "../domain/sweep.ts"
import { type Capabilities, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "../providers/provider.ts"

/** A machine as it truly is. */
export interface Paid {
  readonly id: string
  readonly wish: Wish
  readonly bornAtMs: number
  readonly visibleAtMs: number
  /** When it is up; never, for one that does not boot. */
  readonly upAtMs: number
  /** The cloud made it beside the one that was asked for. */
  readonly double: boolean
  endsAtMs?: number
  how: "terminated" | "reclaimed"
  reclaimAtMs?: number
}

/** How often what happens, in thousandths of calls or machines. */
export interface Mood {
  readonly lost: number
  readonly failing: number
  readonly refused: number
  readonly tooMany: number
  readonly endsRefused: number
  readonly doubled: number
  readonly neverUp: number
  readonly diesEarly: number
  readonly reclaimed: number
  readonly slowMs: number
}

const calm: Mood = { lost: 0, failing: 0, refused: 0, tooMany: 0, endsRefused: 0, doubled: 0, neverUp: 0, diesEarly: 0, reclaimed: 0, slowMs: 200 }

export const moodOf = (chance: Chance): Mood => ({
  lost: chance.oneOf([0, 60, 300]),
  failing: chance.oneOf([0, 30, 150]),
  refused: chance.oneOf([0, 100, 400]),
  tooMany: chance.oneOf([0, 50]),
  endsRefused: chance.oneOf([0, 100, 300]),
  doubled: chance.oneOf([0, 0, 80]),
  neverUp: chance.oneOf([0, 80]),
  diesEarly: chance.oneOf([0, 80]),
  reclaimed: chance.oneOf([0, 300]),
  slowMs: chance.oneOf([50, 400, 4_000])
})

/** Ended machines are listed for so long. */
const rememberedMs = 60_000
const visibleWithinMs = 10_000
/** The broker asks again so long after a list that came to nothing. */
const askedAgainMs = 10_000
const billing = { billedStepMs: 60_000, billedMsMin: 60_000 }

/** A cloud in memory with moods of its own, and the truth about it. Everything it does follows from its seed. */
export class PretendCloud {
  readonly name: ProviderName
  readonly made: Array<Paid> = []
  mood: Mood
  downUntilMs = 0
  /** A list came to nothing: until the next one nobody can know what is there. */
  silentUntilMs = 0
  readonly #chance: Chance
  readonly #time: VirtualTime
  readonly #sometimes: Sometimes
  readonly #rows: ReadonlyArray<Offer>
  readonly can: Capabilities

  constructor(name: string, { chance, rows, sometimes, time }: { readonly chance: Chance; readonly rows: ReadonlyArray<Offer>; readonly sometimes: Sometimes; readonly time: VirtualTime }) {
    this.name = name as ProviderName
    this.#chance = chance
    this.#time = time
    this.#sometimes = sometimes
    this.#rows = rows
    this.mood = moodOf(chance)
    this.can = {
      manner: "instances", sells: "machines", spot: true, noticeMs: 30_000, fabric: false, deadManMs: undefined, userData: true, visibleWithinMs,
      idempotent: chance.happens(0.5), requestsEvery: { anyMs: 0, createMs: 0 }, ...billing, writtenFrom: "nothing: it is pretended"
    }
  }

  /** From here on everything goes well. */
  calm(): void {
    this.mood = calm
    this.downUntilMs = 0
  }

  get isDown(): boolean {
    return this.#time.nowMs < this.downUntilMs
  }

  /** Machines that cost money now. */
  get paid(): ReadonlyArray<Paid> {
    return this.made.filter(({ endsAtMs = Number.POSITIVE_INFINITY }) => endsAtMs > this.#time.nowMs)
  }

  /** What a machine has truly cost, by then. */
  costOf({ bornAtMs, endsAtMs, wish }: Paid, atMs: number): bigint {
    return costPico(wish.pricePicoPerSecondMax, billing, bornAtMs, Math.min(endsAtMs ?? atMs, atMs))
  }

  #strikes(what: Exclude<keyof Mood, "slowMs">): boolean {
    const so = this.#chance.happens(this.mood[what] / 1000)
    if (so) this.#sometimes.saw(what)
    return so
  }

  get #takes() {
    return Effect.suspend(() => Effect.sleep(this.#chance.between(5, this.mood.slowMs)))
  }

  #unclear(doing: string) {
    return new ProviderUnclear({ provider: this.name, doing, detail: "the connection broke" })
  }

  /** Before anything happens: it is down, breaks, or has had enough. */
  #asked(doing: string): Effect.Effect<Refusal | undefined, ProviderUnclear> {
    return Effect.andThen(this.#takes, Effect.suspend(() => {
      if (this.isDown || this.#strikes("failing")) return Effect.fail(this.#unclear(doing))
      return Effect.succeed(this.#strikes("tooMany") ? { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "too many", untilMs: this.#time.nowMs + 2_000 } as const : undefined)
    }))
  }

  get #told(): Effect.Effect<Refusal | undefined, ProviderUnclear> {
    const silent = Effect.sync(() => void (this.silentUntilMs = this.#time.nowMs + askedAgainMs + this.mood.slowMs))
    return Effect.tapError(Effect.tap(this.#asked("listing machines"), (no) => (no === undefined ? Effect.void : silent)), () => silent)
  }

  #make(wish: Wish, double: boolean): Paid {
    const nowMs = this.#time.nowMs
    const dies = this.#strikes("diesEarly")
    const machine: Paid = {
      id: `${this.name}-${this.made.length}`, wish, double, bornAtMs: nowMs, how: "terminated",
      visibleAtMs: nowMs + this.#chance.between(0, visibleWithinMs - 1_000),
      upAtMs: dies || this.#strikes("neverUp") ? Number.POSITIVE_INFINITY : nowMs + this.#chance.between(1_000, 20_000),
      ...(dies ? { endsAtMs: nowMs + this.#chance.between(1_000, 20_000) } : {})
    }
    if (wish.column.market === "spot" && this.#strikes("reclaimed")) {
      this.#time.after(this.#chance.between(5_000, 120_000), () => this.#reclaim(machine, this.#chance.oneOf([0, 30_000])))
    }
    this.made.push(machine)
    return machine
  }

  #reclaim(machine: Paid, noticeMs: number): void {
    const atMs = this.#time.nowMs + noticeMs
    if ((machine.endsAtMs ?? Number.POSITIVE_INFINITY) <= atMs) return
    machine.endsAtMs = atMs
    machine.how = "reclaimed"
    if (noticeMs > 0) machine.reclaimAtMs = atMs
  }

  #listed({ endsAtMs = Number.POSITIVE_INFINITY, how, id, reclaimAtMs, upAtMs, wish }: Paid): Listed {
    const nowMs = this.#time.nowMs
    return {
      machine: id, token: wish.token, cell: wish.cell, region: wish.column.region, machineType: wish.column.machineType, market: wish.column.market,
      stands: endsAtMs <= nowMs ? how : upAtMs <= nowMs ? "running" : "coming", pricePicoPerSecond: wish.pricePicoPerSecondMax, sinceMs: wish.askedAtMs,
      ...(reclaimAtMs === undefined ? {} : { reclaimAtMs })
    }
  }

  #create(wish: Wish) {
    return Effect.gen({ self: this }, function*() {
      const no = yield* this.#asked("buying a machine")
      if (no !== undefined) return no
      if (this.#strikes("refused")) {
        const [reason, narrows] = this.#chance.oneOf([["out_of_capacity", "type"], ["out_of_capacity", "market"], ["quota", "region"], ["price_moved", "market"]] as const)
        return { _tag: "Refusal", reason, narrows, detail: "not now" } as const
      }
      const before = this.can.idempotent ? this.paid.find((one) => one.wish.token === wish.token && !one.double) : undefined
      const machine = before ?? this.#make(wish, false)
      if (this.#strikes("doubled")) this.#make(wish, true)
      yield* this.#takes
      if (this.#strikes("lost")) return yield* this.#unclear("buying a machine")
      return { _tag: "Bought", machine: machine.id } as const
    })
  }

  #terminate(id: string) {
    return Effect.gen({ self: this }, function*(): Effect.fn.Return<Told<"ending" | "not_there"> | Refusal, ProviderUnclear> {
      const no = yield* this.#asked("ending a machine")
      if (no !== undefined) return no
      const machine = this.paid.find((one) => one.id === id)
      if (machine === undefined) return { _tag: "Told", value: "not_there" }
      if (this.#strikes("endsRefused")) return { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "not yet" }
      machine.endsAtMs = Math.min(machine.endsAtMs ?? Number.POSITIVE_INFINITY, this.#time.nowMs + this.#chance.between(0, 8_000))
      return { _tag: "Told", value: "ending" }
    })
  }

  get provider(): Provider {
    const { can, name } = this
    return {
      name,
      can,
      offers: Effect.map(this.#asked("reading what it offers"), (no) => no ?? { _tag: "Told", value: { rows: this.#rows, source: "a list" } } as const),
      create: (wish) => this.#create(wish),
      list: Effect.flatMap(this.#told, (no) => Effect.map(Clock.currentTimeMillis, () =>
        no ?? { _tag: "Told", value: this.made.filter(({ endsAtMs = Number.POSITIVE_INFINITY, visibleAtMs }) => visibleAtMs <= this.#time.nowMs && endsAtMs + rememberedMs > this.#time.nowMs).map((one) => this.#listed(one)) } as const)),
      terminate: (id) => this.#terminate(id),
      check: Effect.succeed([])
    }
  }
}
