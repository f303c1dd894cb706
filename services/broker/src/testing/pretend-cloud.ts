import type { Chance, Life, Sometimes, VirtualTime } from "@millrace/sim"
import type { Offer, ProviderName } from "@millrace/schemas"
import { Effect } from "effect"
import { costPico } from "../domain/money.ts"
import type { Listed } from "../domain/sweep.ts"
import { answerMsMax, type Bought, type Capabilities, type Provider, ProviderUnclear, type Refusal, type Told, type Wish } from "../providers/provider.ts"

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
  /** It ends by itself then, unless that is pushed forward. */
  deadManAtMs?: number
  byDeadMan?: boolean
  /** How often its end was asked for in vain: refused, or not answered. */
  endsInVain: number
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
  /** It takes almost as long as anybody waits until it acts. */
  readonly dawdles: number
  readonly slowMs: number
  /** How long a create waits for its turn before it is sent. */
  readonly lineMs: number
}

const calm: Mood = { lost: 0, failing: 0, refused: 0, tooMany: 0, endsRefused: 0, doubled: 0, neverUp: 0, diesEarly: 0, reclaimed: 0, dawdles: 0, slowMs: 200, lineMs: 0 }

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
  dawdles: chance.oneOf([0, 0, 100]),
  slowMs: chance.oneOf([50, 400, 4_000]),
  lineMs: chance.oneOf([0, 1_000, 12_000])
})

/** Ended machines are listed for so long. */
const rememberedMs = 60_000
const visibleWithinMs = 10_000
/** Where it has one: no machine lives longer without being told to. Several times the broker's looks. */
const deadManMs = 120_000
const buying = "buying a machine"
/** The broker asks again so long after a list that came to nothing. */
const askedAgainMs = 10_000
const billing = { billedStepMs: 60_000, billedMsMin: 60_000 }

/** A cloud in memory with moods of its own, and the truth about it. Everything it does follows from its seed. */
export class PretendCloud {
  readonly name: ProviderName
  readonly made: Array<Paid> = []
  mood: Mood
  downUntilMs = 0
  /**
   * A list came to nothing: until the next one is answered nobody can know what is there. It lasts so long as a broker that
   * keeps to its word takes to ask again and to be answered, and no longer: one that stops asking is found out.
   */
  silentUntilMs = 0
  /** Told of each create that begins to wait for its turn. */
  inLine: (life: Life) => void = () => undefined
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
      manner: "instances", sells: "machines", spot: true, noticeMs: 30_000, fabric: false, deadManMs: chance.happens(0.3) ? deadManMs : undefined, endsWhenOff: false, userData: true, visibleWithinMs,
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

  /** It charges what it asks, and not the most that somebody would pay. */
  #soldAt({ column: { machineType, market }, pricePicoPerSecondMax }: Wish): bigint {
    return this.#rows.find((row) => row.machineType === machineType && row.market === market)?.pricePicoPerSecond ?? pricePicoPerSecondMax
  }

  /** What a machine has truly cost, by then. */
  costOf({ bornAtMs, endsAtMs, wish }: Paid, atMs: number): bigint {
    return costPico(this.#soldAt(wish), billing, bornAtMs, Math.min(endsAtMs ?? atMs, atMs))
  }

  #strikes(what: Exclude<keyof Mood, "slowMs" | "lineMs">): boolean {
    const so = this.#chance.happens(this.mood[what] / 1000)
    if (so) this.#sometimes.saw(what)
    return so
  }

  /**
   * A request of one life of a process. Once it is sent the cloud does what it asks, whatever has become of who sent
   * it: it may be dead, stand still, or have given up waiting. `act` happens some time after, the answer later still.
   */
  #request<A extends Told<unknown> | Bought>(life: Life, doing: string, act: () => A | Refusal): Effect.Effect<A | Refusal, ProviderUnclear> {
    return life.guard(Effect.callback((resume) => {
      const unclear = new ProviderUnclear({ provider: this.name, doing, detail: "the connection broke" })
      const takesMs = () => this.#chance.between(5, this.mood.slowMs)
      const giveUp = this.#time.after(answerMsMax, () => life.receive(() => resume(Effect.fail(unclear))))
      const answer = (reply: A | Refusal | ProviderUnclear) => {
        if (life.process.paused) this.#sometimes.saw("answered while it stood still")
        life.receive(() => {
          giveUp()
          resume(reply instanceof ProviderUnclear ? Effect.fail(reply) : Effect.succeed(reply))
        })
      }
      this.#time.after(this.#strikes("dawdles") ? this.#chance.between(answerMsMax / 2, answerMsMax - 1_000) : takesMs(), () => {
        if (this.isDown || this.#strikes("failing")) return answer(unclear)
        if (this.#strikes("tooMany")) return answer({ _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "too many", untilMs: this.#time.nowMs + 2_000 })
        const reply = act()
        this.#time.after(takesMs(), () => answer(reply._tag !== "Refusal" && doing === buying && this.#strikes("lost") ? unclear : reply))
      })
    }))
  }

  get #silent() {
    return Effect.sync(() => void (this.silentUntilMs = this.#time.nowMs + askedAgainMs + this.mood.slowMs))
  }

  #make(wish: Wish, double: boolean): Paid {
    const nowMs = this.#time.nowMs
    const dies = this.#strikes("diesEarly")
    const machine: Paid = {
      id: `${this.name}-${this.made.length}`, wish, double, bornAtMs: nowMs, how: "terminated", endsInVain: 0,
      visibleAtMs: nowMs + this.#chance.between(0, visibleWithinMs - 1_000),
      upAtMs: dies || this.#strikes("neverUp") ? Number.POSITIVE_INFINITY : nowMs + this.#chance.between(1_000, 20_000),
      ...(dies ? { endsAtMs: nowMs + this.#chance.between(1_000, 20_000) } : {})
    }
    if (wish.column.market === "spot" && this.#strikes("reclaimed")) {
      this.#time.after(this.#chance.between(5_000, 120_000), () => this.#reclaim(machine, this.#chance.oneOf([0, 30_000])))
    }
    if (this.can.deadManMs !== undefined) this.#pushForward(machine, nowMs + this.can.deadManMs)
    this.made.push(machine)
    return machine
  }

  #pushForward(machine: Paid, untilMs: number): void {
    machine.deadManAtMs = Math.max(machine.deadManAtMs ?? 0, untilMs)
    this.#time.after(machine.deadManAtMs - this.#time.nowMs, () => {
      if (machine.endsAtMs !== undefined || this.#time.nowMs < (machine.deadManAtMs ?? 0)) return
      machine.endsAtMs = this.#time.nowMs
      machine.byDeadMan = true
      this.#sometimes.saw("ended by its dead man")
    })
  }

  #reclaim(machine: Paid, noticeMs: number): void {
    const atMs = this.#time.nowMs + noticeMs
    if ((machine.endsAtMs ?? Number.POSITIVE_INFINITY) <= atMs) return
    machine.endsAtMs = atMs
    machine.how = "reclaimed"
    if (noticeMs > 0) machine.reclaimAtMs = atMs
  }

  #listed({ deadManAtMs, endsAtMs = Number.POSITIVE_INFINITY, how, id, reclaimAtMs, upAtMs, wish }: Paid): Listed {
    const nowMs = this.#time.nowMs
    return {
      machine: id, token: wish.token, cell: wish.cell, region: wish.column.region, machineType: wish.column.machineType, market: wish.column.market,
      stands: endsAtMs <= nowMs ? how : upAtMs <= nowMs ? "running" : "coming", pricePicoPerSecond: this.#soldAt(wish), sinceMs: wish.askedAtMs,
      ...(reclaimAtMs === undefined ? {} : { reclaimAtMs }),
      ...(deadManAtMs === undefined ? {} : { deadManAtMs })
    }
  }

  #create(wish: Wish): Bought | Refusal {
    // A token that was heard stays heard, also when its machine has ended.
    const before = this.can.idempotent ? this.made.find((one) => one.wish.token === wish.token && !one.double) : undefined
    if (before !== undefined) return { _tag: "Bought", machine: before.id }
    if (this.#strikes("refused")) {
      const [reason, narrows] = this.#chance.oneOf([["out_of_capacity", "type"], ["out_of_capacity", "market"], ["quota", "region"], ["price_moved", "market"]] as const)
      return { _tag: "Refusal", reason, narrows, detail: "not now" }
    }
    const machine = this.#make(wish, false)
    if (this.#strikes("doubled")) this.#make(wish, true)
    return { _tag: "Bought", machine: machine.id }
  }

  #list(): Told<ReadonlyArray<Listed>> {
    const nowMs = this.#time.nowMs
    return {
      _tag: "Told",
      value: this.made.filter(({ endsAtMs = Number.POSITIVE_INFINITY, visibleAtMs }) => visibleAtMs <= nowMs && endsAtMs + rememberedMs > nowMs).map((one) => this.#listed(one))
    }
  }

  #terminate(id: string): Told<"ending" | "not_there"> | Refusal {
    const machine = this.paid.find((one) => one.id === id)
    if (machine === undefined) return { _tag: "Told", value: "not_there" }
    if (this.#strikes("endsRefused")) return { _tag: "Refusal", reason: "rate_limited", narrows: "provider", detail: "not yet" }
    machine.endsAtMs = Math.min(machine.endsAtMs ?? Number.POSITIVE_INFINITY, this.#time.nowMs + this.#chance.between(0, 8_000))
    return { _tag: "Told", value: "ending" }
  }

  /** The cloud as one life of a broker has it. */
  providerFor(life: Life): Provider {
    const { can, name } = this
    const list = this.#request(life, "listing machines", () => this.#list())
    const inVain = (id: string) => Effect.sync(() => {
      const machine = this.made.find((one) => one.id === id)
      if (machine !== undefined) machine.endsInVain += 1
    })
    return {
      name,
      can,
      offers: this.#request(life, "reading what it offers", () => ({ _tag: "Told", value: { rows: this.#rows, source: "a list" } })),
      create: (wish) => Effect.suspend(() => {
        this.inLine(life)
        return Effect.sleep(this.#chance.between(0, this.mood.lineMs))
      }).pipe(
        Effect.andThen(wish.maySend),
        Effect.andThen(this.#request(life, buying, () => this.#create(wish)))
      ),
      list: Effect.tapError(Effect.tap(list, (told) => (told._tag === "Told" ? Effect.void : this.#silent)), () => this.#silent),
      terminate: (id) => Effect.tapError(Effect.tap(this.#request(life, "ending a machine", () => this.#terminate(id)), (told) => (told._tag === "Told" ? Effect.void : inVain(id))), () => inVain(id)),
      extend: (id, untilMs) => this.#request(life, "pushing a dead-man time forward", () => {
        const machine = this.paid.find((one) => one.id === id)
        if (machine === undefined) return { _tag: "Told", value: "not_there" }
        this.#sometimes.saw("dead-man time pushed forward")
        this.#pushForward(machine, untilMs)
        return { _tag: "Told", value: "extended" }
      }),
      check: Effect.succeed([])
    }
  }
}
