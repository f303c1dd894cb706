import { assert, describe, it } from "@effect/vitest"
import type { ProviderName } from "@millrace/schemas"
import { Effect, Layer, Schema } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ProviderFile, Providers, type ProviderSettings, providersLayer } from "./all.ts"

const decode = Schema.decodeUnknownResult(Schema.fromJsonString(ProviderFile))
const entry = { name: "one", endpoint: "https://one", keyFile: "key" }
const own = {
  lambda: {},
  vast: { images: { machine: "vm", container: "container" } },
  ec2: { ec2: { regions: ["us-east-1"], image: "resolve:ssm:/millrace/host" } },
  coreweave: { coreweave: { region: "US-EAST-04A", image: "host" } }
}

describe("the file of providers", () => {
  it("names each cloud by what it speaks, with what that cloud wants besides", () => {
    for (const [speaks, more] of Object.entries(own)) {
      assert.strictEqual(decode(JSON.stringify({ providers: [{ ...entry, speaks, ...more }] }))._tag, "Success", speaks)
      if (Object.keys(more).length > 0) assert.strictEqual(decode(JSON.stringify({ providers: [{ ...entry, speaks }] }))._tag, "Failure", speaks)
    }
    assert.strictEqual(decode(JSON.stringify({ providers: [{ ...entry, speaks: "none-such" }] }))._tag, "Failure")
  })

  it.effect("opens every cloud with the key of its file, and says which entry cannot be used", () =>
    Effect.scoped(Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "providers-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true })))
      const keyFile = join(folder, "key")
      writeFileSync(keyFile, "secret\n")
      const settings = Object.entries(own).map(([speaks, more]) => ({ ...entry, name: speaks, speaks, keyFile, ...more })) as unknown as ReadonlyArray<ProviderSettings>
      const opened = yield* Effect.provide(Effect.map(Providers, (providers) => [...providers.keys()]), providersLayer(settings))
      assert.deepStrictEqual(opened, Object.keys(own) as ReadonlyArray<string> as ReadonlyArray<ProviderName>)
      const failing = (change: object) => Effect.map(Effect.flip(Layer.build(providersLayer([{ ...settings[3]!, ...change } as ProviderSettings]))), ({ message }) => message)
      assert.include(yield* failing({ keyFile: join(folder, "none") }), "coreweave")
      assert.include(yield* failing({ name: "Upper" }), "Upper")
      assert.include(yield* failing({ coreweave: { ...own.coreweave.coreweave, caFile: join(folder, "ca") } }), "certificate file")
    })))
})
