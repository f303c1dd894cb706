import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import { Clock, Effect } from "effect"
import { broker, comparable } from "./domain/broker.ts"
import { type Life, living, small } from "./testing/life.ts"

/** Every intent has bought at most one machine, and every machine was paid for under an intent. */
const boughtOnce = (life: Life): void => {
  const names = life.books.all.map(({ name }) => name)
  assert.strictEqual(new Set(names).size, names.length, `bought twice: ${names.join(", ")}`)
  const asked = new Set(life.said("LeaseRequested").map(({ token }) => token))
  for (const name of names) assert.isTrue(asked.has(name), `${name} was bought without an intent`)
}

/** Nothing runs, every lease is over, once. */
const allOver = (life: Life): void => {
  assert.deepStrictEqual(life.books.running.map(({ name }) => name), [])
  const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
  const open = [...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId))
  assert.deepStrictEqual(open, [])
  assert.strictEqual(new Set(over).size, over.length, "a lease ended twice")
}

const replays = Effect.fnUntraced(function*(life: Life) {
  const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
  assert.deepStrictEqual(verdict.mismatches, [])
  assert.isAbove(verdict.decisions, 2)
})

/** Two jobs wait, two small machines come and do them, then they are idle and are given back. */
const wholeLife = (life: Life) => Effect.gen(function*() {
  yield* life.waits({ ...small, waiting: 2 })
  yield* life.pass(240_000)
  return life.said("LeaseGranted").length
})

const costOf = (life: Life) => life.said("LeaseEnded").reduce((sum, { costPico }) => sum + costPico, 0n)

const billOf = (life: Life) => Effect.map(Clock.currentTimeMillis, (atMs) =>
  life.books.bills(atMs).reduce((sum, { costPico }) => sum + costPico, 0n))

describe("a machine lease", () => {
  it.effect("goes from what waits to the provider's last word, at the ledger's cost", () =>
    living({}, (life) => Effect.gen(function*() {
      assert.strictEqual(yield* wholeLife(life), 2)
      boughtOnce(life)
      allOver(life)
      assert.strictEqual(life.said("MachineEnrolled").length, 2)
      assert.deepStrictEqual(life.said("LeaseReleased").map(({ cause }) => cause), ["idle", "idle"])
      // Ours begins right before the call and ends when the list says so: at most a step of a minute more, each.
      const [cost, bill] = [costOf(life), yield* billOf(life)]
      const stepOfAll = 2n * 1_000_000_000n
      assert.isTrue(cost >= bill && cost - bill <= stepOfAll, `ours ${cost}, the ledger's ${bill}`)
      assert.strictEqual(life.api.tooFast, 0)
      yield* replays(life)
    })))

  it.effect("is bought once and ended, wherever its broker dies", () => Effect.gen(function*() {
    const points = yield* living({}, (life) => Effect.map(wholeLife(life), () => life.points.length))
    assert.isAbove(points, 20)
    const died = new Set<string>()
    for (let dieAt = 1; dieAt <= points; dieAt += 1) {
      yield* living({ dieAt, weather: { invisibleMs: 4_000 } }, (life) => Effect.gen(function*() {
        yield* wholeLife(life)
        yield* life.pass(60_000)
        assert.strictEqual(life.lives, life.points.length < dieAt ? 1 : 2)
        died.add(life.points[dieAt - 1] ?? "")
        boughtOnce(life)
        allOver(life)
        yield* replays(life)
      }))
    }
    for (const point of ["create machine before", "create machine after", "append LeaseRequested after", "append LeaseGranted before", "terminate machine after", "append LeaseEnded before"]) {
      assert.isTrue(died.has(point), `nobody died at ${point}: ${[...died].join(", ")}`)
    }
  }))

  it.effect("is found when the answer to its call was lost, and nothing is bought again", () =>
    living({ weather: { answersLost: 2, invisibleMs: 6_000 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(60_000)
      assert.isAtLeast(life.books.all.length, 1)
      boughtOnce(life)
      allOver(life)
      yield* replays(life)
    })))
})

describe("the sweep", () => {
  it.effect("finds a machine that nobody accounts for within a minute, and ends it after the second look", () =>
    living({ weather: { doubled: 1 } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(75_000)
      assert.strictEqual(life.books.all.length, 2)
      assert.isAtLeast(life.said("OrphanFound").length, 1)
      yield* life.pass(75_000)
      const orphan = life.said("OrphanFound")[0]!
      assert.strictEqual(life.books.get(orphan.machine)?.stands, "terminated")
      assert.isTrue(life.said("LeaseEnded").some(({ costPico, leaseId }) => leaseId === orphan.leaseId && costPico > 0n))
    })))

  it.effect("leaves another cell's machines alone", () =>
    living({}, (life) => Effect.gen(function*() {
      yield* life.pass(1_000)
      const atMs = (yield* Clock.currentTimeMillis) + 1_500
      yield* life.pass(1_500)
      const body = { region_name: "us-east-1", instance_type_name: "cpu_1x_small", ssh_key_names: ["millrace"], name: "theirs", tags: [{ key: "millrace-cell", value: "another" }] }
      assert.strictEqual(life.api.answer({ method: "POST", path: "/api/v1/instance-operations/launch", url: "/api/v1/instance-operations/launch", query: new URLSearchParams(), headers: { authorization: "Bearer right" }, body: JSON.stringify(body), atMs }).status, 200)
      yield* life.pass(200_000)
      assert.deepStrictEqual(life.books.running.map(({ name }) => name), ["theirs"])
      assert.deepStrictEqual(life.said("OrphanFound"), [])
    })))
})

describe("bounds", () => {
  it.effect("no more machines are asked for than may be, whatever waits", () =>
    living({ machinesMax: 3, works: false }, (life) => Effect.gen(function*() {
      yield* life.waits({ ...small, waiting: 500 })
      yield* life.pass(120_000)
      assert.strictEqual(life.books.all.length, 3)
      // Three launches, lists and looks at offers at once: none came before the documented time.
      assert.strictEqual(life.api.tooFast, 0)
    })))

  it.effect("no more is asked for than may be spent in an hour", () =>
    // A small machine of one core is six cents.
    living({ machinesMax: 100, spendPicoPerHourMax: 130_000_000_000n, works: false }, (life) => Effect.gen(function*() {
      yield* life.waits({ ...small, waiting: 500 })
      yield* life.pass(120_000)
      assert.strictEqual(life.books.all.reduce((sum, { ware }) => sum + ware.picoPerHour, 0n), 120_000_000_000n)
    })))
})

describe("a provider that says no", () => {
  it.effect("for one type in one place: another is asked for", () =>
    living({ weather: { noCapacity: ["cpu_1x_small@europe-central-1"] } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(60_000)
      assert.deepStrictEqual(life.books.all.map(({ region }) => region), ["us-east-1"])
    })))

  it.effect("too often: it is waited for, and asked again", () =>
    living({ weather: { tooMany: 3 } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(110_000)
      assert.strictEqual(life.books.all.length, 1)
      boughtOnce(life)
    })))

  it.effect("to everything: it rests, and nothing is asked of it meanwhile", () =>
    living({ weather: { unauthorised: true } }, (life) => Effect.gen(function*() {
      yield* life.waits(small)
      yield* life.pass(90_000)
      assert.deepInclude(life.said("ProviderSuspended")[0], { reason: "unauthorised" })
      assert.deepStrictEqual(life.said("LeaseRequested"), [])
    })))

  it.effect("to the end of a machine, for a while: it is asked until the machine is gone", () =>
    living({ weather: { endsRefused: 4 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(60_000)
      allOver(life)
    })))
})
