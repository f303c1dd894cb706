import { assert, describe, it } from "@effect/vitest"
import { Providers, providersLayer } from "@millrace/broker"
import { Context, Effect, Layer } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { accountsAt, providersOf, vendors, vendorsIn } from "./accounts.ts"
import { startSky } from "./sky.ts"

describe("accounts at the pretend vendors", () => {
  it.live("are all that a broker needs to buy there: each is known, may do everything, and offers something", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-accounts-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })))
      const accounts = accountsAt(vendors, { folder, quick: true })
      const sky = yield* startSky({ clouds: Object.fromEntries(Object.entries(accounts).map(([name, { cloud }]) => [name, cloud])) })
      const file = JSON.parse(JSON.stringify(providersOf(accounts, sky))) as { readonly providers: Parameters<typeof providersLayer>[0] }
      const providers = Context.get(yield* Layer.build(providersLayer(file.providers)), Providers)
      for (const [name, provider] of providers) {
        const offers = yield* provider.offers
        assert.isTrue(offers._tag === "Told" && offers.value.rows.length > 0, `${name}: ${offers._tag === "Told" ? "no rows" : offers.detail}`)
        assert.deepStrictEqual((yield* provider.check).filter(({ allowed }) => !allowed), [], name)
      }
      assert.deepStrictEqual([...providers.keys()], [...vendors])
    })))

  it("are named, or what is no name is", () => {
    assert.deepStrictEqual([vendorsIn("ec2,lambda"), vendorsIn("ec2,azure"), vendorsIn("")], [["ec2", "lambda"], { unknown: "azure" }, { unknown: "" }])
  })
})
