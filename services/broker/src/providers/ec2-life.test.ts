import { assert, describe, it } from "@effect/vitest"
import { Journal, verify } from "@millrace/journal"
import type { ProviderName } from "@millrace/schemas"
import { type Ec2Api, ec2Cloud } from "@millrace/sky"
import { Clock, Effect, type Scope } from "effect"
import { broker, comparable } from "../domain/broker.ts"
import { type Life, type LifeOptions, livingAt, small, type Vendor } from "../testing/life.ts"
import { ec2 } from "./ec2.ts"

/** A request as the vendor's client hands it over to be sent. */
interface Sent {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** The client's way to an EC2 in this process, in the test's own time. */
const wired = (api: Ec2Api, clock: Clock.Clock): Record<string, unknown> => ({
  handle: ({ body, headers, method, path, query }: Sent) => {
    const answer = api.answer({
      method, path, url: path, query: new URLSearchParams(query), body: String(body ?? ""), atMs: clock.currentTimeMillisUnsafe(),
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
    })
    const said = { statusCode: answer.status, headers: { ...answer.headers }, body: Buffer.from(String(answer.body)) }
    return answer.cut === true ? Promise.reject(new Error("the connection broke")) : Promise.resolve({ response: said })
  },
  updateHttpClientConfig: () => undefined,
  httpHandlerConfigs: () => ({})
})

const name = "aws" as ProviderName
const key = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "a-secret-of-the-test" }
const prices = { source: "the test's", regions: { "us-east-1": { "t3.small": "0.0208" } } }

const amazon: Vendor<Ec2Api> = {
  name,
  // The client signs by the true clock, and this world begins in 1970.
  cloud: ec2Cloud({ ...key, bootMs: 5_000, endMs: 3_000, skewMsMax: Number.POSITIVE_INFINITY }),
  client: (room) => Effect.flatMap(Clock.Clock, (clock) => Effect.orDie(Effect.scoped(ec2({
    name, endpoint: "http://ec2", credentials: () => Promise.resolve(key), http: wired(room, clock), prices,
    settings: { regions: ["us-east-1"], image: "resolve:ssm:/millrace/host" }, can: { visibleWithinMs: 10_000 }
  }))))
}

const atAmazon = <A, E>(options: LifeOptions, story: (life: Life<Ec2Api>) => Effect.Effect<A, E, Scope.Scope>) => livingAt(amazon, { turns: 12, ...options }, story)

/** Nothing runs and nothing is left; each intent has bought one machine at most, and each lease is over once. */
const allOver = (life: Life<Ec2Api>): void => {
  assert.deepStrictEqual([life.books.running.map(({ name }) => name), life.api.left], [[], []])
  const names = life.books.all.map(({ name }) => name)
  assert.strictEqual(new Set(names).size, names.length, `bought twice: ${names.join(", ")}`)
  const over = [...life.said("LeaseEnded"), ...life.said("LeaseRefused")].map(({ leaseId }) => leaseId)
  assert.deepStrictEqual([...life.said("LeaseRequested"), ...life.said("OrphanFound")].filter(({ leaseId }) => !over.includes(leaseId)), [])
  assert.strictEqual(new Set(over).size, over.length, "a lease ended twice")
}

/** Two jobs wait, machines come and do them, are idle and are given back. */
const wholeLife = (life: Life<Ec2Api>) => Effect.andThen(life.waits({ ...small, waiting: 2 }), life.pass(200_000, 1_000))

describe("a lease of an instance", () => {
  it.effect("goes from what waits to the provider's last word, at the ledger's cost", () =>
    atAmazon({}, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      assert.isAtLeast(life.said("MachineEnrolled").length, 1)
      allOver(life)
      const cost = life.said("LeaseEnded").reduce((sum, { costPico }) => sum + costPico, 0n)
      const bills = life.books.bills(yield* Clock.currentTimeMillis)
      const bill = bills.reduce((sum, { costPico }) => sum + costPico, 0n)
      // The vendor charges from when it runs until it is asked to end; ours begins at the launch, and ends when its end is seen.
      assert.isTrue(cost >= bill && cost - bill <= BigInt(bills.length) * 30n * 6_000_000n, `ours ${cost}, the ledger's ${bill}`)
      assert.strictEqual(life.api.tooFast, 0)
      const verdict = yield* verify(broker, { comparable }).pipe(Effect.provideService(Journal, life.journal))
      assert.deepStrictEqual(verdict.mismatches, [])
    })))

  it.effect("is bought once and ended, wherever its broker dies", () => Effect.gen(function*() {
    const points = yield* atAmazon({}, (life) => Effect.map(wholeLife(life), () => [...life.points]))
    // Every kind of point, at its first and at its last time.
    const chosen = [...new Set(points)].flatMap((point) => [...new Set([points.indexOf(point) + 1, points.lastIndexOf(point) + 1])])
    assert.isAbove(chosen.length, 10)
    for (const dieAt of chosen) {
      yield* atAmazon({ dieAt, weather: { invisibleMs: 4_000 } }, (life) => Effect.gen(function*() {
        yield* wholeLife(life)
        yield* life.pass(60_000, 1_000)
        allOver(life)
      }))
    }
  }))

  it.effect("is found when the answer to its call was lost, and nothing is bought again", () =>
    atAmazon({ weather: { answersLost: 2, invisibleMs: 6_000, endAnswersLost: 1 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(60_000, 1_000)
      assert.isAtLeast(life.books.all.length, 1)
      allOver(life)
    })))

  it.effect("that fails after it was promised is over, and what waits is bought for again", () =>
    atAmazon({ weather: { lateFailures: 1 } }, (life) => Effect.gen(function*() {
      yield* wholeLife(life)
      yield* life.pass(240_000, 1_000)
      assert.isAtLeast(life.said("MachineEnrolled").length, 1)
      allOver(life)
    })))
})
