import { assert, describe, it } from "@effect/vitest"
import type { LeaseId } from "@millrace/schemas"
import type { Weather } from "@millrace/sky"
import { Effect, Fiber, type Scope } from "effect"
import { tokenOf } from "../domain/decide.ts"
import type { Provider, Refusal, Wish } from "../providers/provider.ts"

/** A provider that somebody can make trouble for, and the truth about it. */
export interface ProviderUnderTest {
  readonly provider: Provider
  /** Something that it sells now. */
  readonly column: Wish["column"]
  /** Something that it does not sell. Absent: a type of machine that nobody has. */
  readonly unsold?: Wish["column"]
  /** What it answers where nothing can be had. Absent: that the type is out of capacity. */
  readonly noneLeft?: Pick<Refusal, "reason" | "narrows">
  /** What it answers past the account's limit. Absent: that nothing more may be had of the provider. */
  readonly overQuota?: Pick<Refusal, "reason" | "narrows">
  /** The names of the machines that truly cost money now. */
  readonly paid: () => ReadonlyArray<string>
  /** What was made for machines that are not there any more: keys, scripts, disks, addresses, pools. */
  readonly left: () => ReadonlyArray<string>
  /** The next create happens, and its answer is lost. */
  readonly loseNextAnswer: () => void
  /** The next requests are refused as too many. */
  readonly tooMany: (times: number) => void
  readonly noCapacity: (none: boolean) => void
  readonly quotaExceeded: (so: boolean) => void
  readonly unauthorised: (so: boolean) => void
  readonly failing: (times: number) => void
  readonly invisibleMs: (ms: number) => void
  /** Any other weather. */
  readonly weather: (change: Partial<Weather>) => void
}

/** Something that is asked for under a name. */
export const wish = (name: string, column: Wish["column"], cell = "test"): Wish => {
  const leaseId = `lse_${name.toUpperCase().padStart(26, "0")}` as LeaseId
  return { leaseId, token: tokenOf(leaseId), cell, column, pricePicoPerSecondMax: 1_000_000_000_000n, userData: "#cloud-config\n{}\n", askedAtMs: 1_000, maySend: Effect.void }
}

/** What comes of a wish: one that is declared is asked again until it is answered. */
export const answered = Effect.fnUntraced(function*({ create }: Provider, asked: Wish) {
  let answer = yield* create(asked)
  for (let again = 0; answer._tag === "Coming" && again < 20; again += 1) answer = yield* create(asked)
  return answer
})

/** What the broker relies on, held up to any provider through its real client. */
export const keepsItsPromises = (name: string, open: Effect.Effect<ProviderUnderTest, unknown, Scope.Scope>): void => {
  const under = (says: string, holds: (test: ProviderUnderTest) => Effect.Effect<void, unknown>) =>
    it.live(says, () => Effect.scoped(Effect.flatMap(open, holds)))
  const reasonOf = (answer: { readonly _tag: string; readonly reason?: string }) => (answer._tag === "Refusal" ? answer.reason : answer._tag)

  /** The provider's numbers of what is there, or of what was asked for under a token. */
  const named = Effect.fnUntraced(function*(provider: Provider, token?: string) {
    const told = yield* provider.list
    const there = told._tag === "Told" ? told.value.filter((one) => (token === undefined || one.token === token) && one.stands !== "terminated") : []
    return there.map(({ machine }) => machine)
  })

  describe(`${name} keeps its promises`, () => {
    under("offers have prices, resources and places", ({ provider }) => Effect.gen(function*() {
      const told = yield* provider.offers
      assert.strictEqual(told._tag, "Told")
      if (told._tag !== "Told") return
      assert.isAbove(told.value.rows.length, 0)
      for (const { pricePicoPerSecond, resources } of told.value.rows) assert.isTrue(pricePicoPerSecond > 0n && resources.cpuMilli > 0)
    }))

    under("what it may do there is told one permission at a time, and a wrong key is told as that", ({ provider, unauthorised }) => Effect.gen(function*() {
      const checks = yield* provider.check
      assert.isAbove(checks.length, 0)
      assert.deepStrictEqual(checks.filter(({ allowed }) => !allowed), [])
      unauthorised(true)
      const without = yield* provider.check
      assert.deepStrictEqual(without.map(({ allowed, permission }) => [permission, allowed]), checks.map(({ permission }) => [permission, false]))
    }))

    under("what was bought is listed under its token and its cell, and ended twice without an error", ({ column, paid, provider }) => Effect.gen(function*() {
      const { token, ...rest } = wish("ada", column)
      const bought = yield* answered(provider, { token, ...rest })
      assert.strictEqual(bought._tag, "Bought")
      if (bought._tag !== "Bought") return
      const listed = yield* provider.list
      assert.strictEqual(listed._tag, "Told")
      if (listed._tag !== "Told") return
      assert.deepInclude(listed.value.find(({ machine }) => machine === bought.machine), { token, cell: "test", sinceMs: bought.billedSinceMs ?? 1_000, machineType: column.machineType })
      assert.deepStrictEqual(paid(), [token])
      assert.strictEqual((yield* provider.terminate(bought.machine))._tag, "Told")
      const again = yield* provider.terminate(bought.machine)
      assert.strictEqual(again._tag, "Told")
      const after = yield* provider.list
      const left = after._tag === "Told" ? after.value.filter(({ machine, stands }) => machine === bought.machine && stands !== "terminated") : []
      assert.deepStrictEqual([left, paid()], [[], []])
    }))

    under("a token buys one machine, whether its answer came or was lost, and whether it is asked for again or looked for", ({ column, loseNextAnswer, paid, provider }) => Effect.gen(function*() {
      loseNextAnswer()
      const lost = wish("lost", column)
      assert.strictEqual((yield* Effect.flip(provider.create(lost)))._tag, "ProviderUnclear")
      const found = yield* named(provider, lost.token)
      assert.deepStrictEqual([found.length, paid()], [1, [lost.token]])
      // Who does not know the token again is looked at, and not asked.
      const recovered = provider.can.idempotent ? yield* answered(provider, lost) : { _tag: "Bought" as const, machine: found[0]! }
      assert.deepInclude(recovered, { _tag: "Bought", machine: found[0]! })
      yield* provider.terminate(found[0]!)
      const asked = wish("once", column)
      const first = yield* answered(provider, asked)
      const machine = first._tag === "Bought" ? first.machine : ""
      const listed = yield* provider.list
      assert.deepStrictEqual(listed._tag === "Told" ? listed.value.filter(({ token }) => token === asked.token).map((one) => one.machine) : [], [machine])
      if (provider.can.idempotent) assert.deepInclude(yield* answered(provider, asked), { _tag: "Bought", machine })
      assert.deepStrictEqual(paid(), [asked.token])
    }))

    under("nothing is sent that may not be, and who may is asked each time anew, last of all", ({ column, paid, provider }) => Effect.gen(function*() {
      const never = wish("never", column)
      const held = yield* Effect.forkChild(provider.create({ ...never, maySend: Effect.never }))
      const atOnce = wish("may", column)
      let times = 0
      const before: Array<ReadonlyArray<string>> = []
      const maySend = Effect.sync(() => {
        times += 1
        before.push(paid())
      })
      // Whoever waits for leave and does not get it is given up, as a broker that is overtaken gives everything up.
      yield* Effect.sleep(50)
      yield* Fiber.interrupt(held)
      assert.deepStrictEqual(paid(), [])
      const bought = yield* answered(provider, { ...atOnce, maySend })
      assert.deepStrictEqual([bought._tag, times, before, paid()], ["Bought", 1, [[]], [atOnce.token]])
    }))

    under("nothing outlives a machine: one that ended, one that failed, one that was refused, or one whose answer was lost", ({ column, left, loseNextAnswer, noCapacity, paid, provider, quotaExceeded, weather }) => Effect.gen(function*() {
      yield* answered(provider, wish("ends", column))
      weather({ lateFailures: 1 })
      yield* answered(provider, wish("fails", column))
      loseNextAnswer()
      yield* Effect.result(provider.create(wish("lost", column)))
      for (const machine of yield* named(provider)) yield* provider.terminate(machine)
      noCapacity(true)
      assert.strictEqual((yield* answered(provider, wish("none", column)))._tag, "Refusal")
      noCapacity(false)
      quotaExceeded(true)
      assert.strictEqual((yield* answered(provider, wish("quota", column)))._tag, "Refusal")
      quotaExceeded(false)
      yield* named(provider)
      assert.deepStrictEqual([paid(), left()], [[], []])
    }))

    under("a place that is not there any more, and a type that nobody has, are told by their name, and buy nothing", ({ column, left, paid, provider, unsold }) => Effect.gen(function*() {
      const { zone: _, ...anywhere } = column
      // A single offer is where it is.
      const places = provider.can.manner === "market" ? [] : [{ ...anywhere, region: "mars-north-1" }]
      for (const gone of [...places, unsold ?? { ...column, machineType: "9xZ900" }]) {
        const answer = yield* answered(provider, wish("gone", gone))
        assert.include(["offer_gone", "invalid"], reasonOf(answer), JSON.stringify(gone))
        assert.isAbove(answer._tag === "Refusal" ? answer.detail.length : 0, 0)
      }
      assert.deepStrictEqual([paid(), left()], [[], []])
    }))

    under("machines of another cell are listed as that cell's", ({ column, provider }) => Effect.gen(function*() {
      yield* answered(provider, wish("theirs", column, "another"))
      const listed = yield* provider.list
      assert.deepStrictEqual(listed._tag === "Told" ? listed.value.map(({ cell }) => cell) : [], ["another"])
    }))

    under("an end that is refused or whose answer is lost comes when it is asked for again", ({ column, paid, provider, weather }) => Effect.gen(function*() {
      for (const [name, change] of [["refused", { endsRefused: 1 }], ["lost", { endAnswersLost: 1 }]] as const) {
        const bought = yield* answered(provider, wish(name, column))
        const machine = bought._tag === "Bought" ? bought.machine : ""
        weather(change)
        const first = yield* Effect.result(provider.terminate(machine))
        if (name === "refused") assert.notDeepEqual([first._tag, paid()], ["Success", []])
        for (let again = 0; again < 3; again += 1) assert.strictEqual((yield* provider.terminate(machine))._tag, "Told")
        assert.deepStrictEqual(paid(), [])
      }
    }))

    under("a machine that comes to nothing is listed as no machine that is there", ({ column, paid, provider, weather }) => Effect.gen(function*() {
      weather({ lateFailures: 1 })
      yield* answered(provider, wish("fails", column))
      const listed = yield* provider.list
      assert.deepStrictEqual(listed._tag === "Told" ? listed.value.filter(({ stands }) => stands === "coming" || stands === "running") : ["?"], [])
      assert.deepStrictEqual(paid(), [])
    }))

    under("who is known no longer is told so, and a provider that does not answer has said nothing", ({ column, provider, weather }) => Effect.gen(function*() {
      weather({ expired: true })
      const known = { reason: "unauthorised", narrows: "provider" } as const
      assert.deepInclude(yield* provider.offers, known)
      assert.deepInclude(yield* provider.list, known)
      assert.deepInclude(yield* answered(provider, wish("a", column)), known)
      weather({ expired: false, down: true })
      assert.strictEqual((yield* Effect.flip(provider.list))._tag, "ProviderUnclear")
      assert.strictEqual((yield* Effect.flip(provider.create(wish("b", column))))._tag, "ProviderUnclear")
      assert.strictEqual((yield* Effect.flip(provider.terminate("1")))._tag, "ProviderUnclear")
    }))

    under("a lost answer is unclear, and looking finds what was bought", ({ column, loseNextAnswer, paid, provider }) => Effect.gen(function*() {
      loseNextAnswer()
      const asked = wish("grace", column)
      assert.strictEqual((yield* Effect.flip(provider.create(asked)))._tag, "ProviderUnclear")
      assert.deepStrictEqual(paid(), [asked.token])
      const listed = yield* provider.list
      assert.deepStrictEqual(listed._tag === "Told" ? listed.value.map(({ token }) => token) : [], [asked.token])
    }))

    under("each documented error is the refusal that it means, and buys nothing", ({ column, noCapacity, noneLeft = { reason: "out_of_capacity", narrows: "type" }, overQuota = { reason: "quota", narrows: "provider" }, paid, provider, quotaExceeded, tooMany, unauthorised, unsold }) => Effect.gen(function*() {
      noCapacity(true)
      const none = yield* answered(provider, wish("a", column))
      assert.deepInclude(none, noneLeft)
      noCapacity(false)
      quotaExceeded(true)
      assert.deepInclude(yield* answered(provider, wish("b", column)), overQuota)
      quotaExceeded(false)
      tooMany(1)
      const late = yield* provider.create(wish("c", column))
      assert.strictEqual(reasonOf(late), "rate_limited")
      assert.isAbove(late._tag === "Refusal" ? late.untilMs ?? 0 : 0, 0)
      unauthorised(true)
      assert.deepInclude(yield* provider.list, { reason: "unauthorised", narrows: "provider" })
      assert.deepInclude(yield* provider.create(wish("d", column)), { reason: "unauthorised" })
      unauthorised(false)
      assert.strictEqual(reasonOf(yield* provider.create(wish("e", unsold ?? { ...column, machineType: "none-such" }))), "offer_gone")
      assert.strictEqual(reasonOf(yield* provider.create({ ...wish("f", column), token: "x".repeat(300) })), "invalid")
      assert.deepStrictEqual(paid(), [])
    }))

    under("what breaks there is unclear, never a no", ({ column, failing, provider }) => Effect.gen(function*() {
      failing(1)
      assert.strictEqual((yield* Effect.flip(provider.create(wish("a", column))))._tag, "ProviderUnclear")
    }))
  })
}
