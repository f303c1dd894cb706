import { assert, describe, it } from "@effect/vitest"
import { Readiness } from "@millrace/service"
import { Config, Effect, Layer } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { brokerProcess } from "./process.ts"
import { cellNamed } from "./providers/cell-name.ts"

const entry = { name: "one", speaks: "lambda", endpoint: "https://cloud.example", keyFile: "/none" } as const

describe("the name of a cell that buys", () => {
  it.effect("must be set before a provider that others can reach is used: the default is everybody's", () => Effect.scoped(Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "cell-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true })))
    const providers = join(folder, "providers.json")
    writeFileSync(providers, JSON.stringify({ providers: [entry] }))
    const settings = { cell: "local", providers, log: { credentials: "/none", servers: "nats://127.0.0.1:1" } } as unknown as Config.Success<typeof brokerProcess.config>
    const { message } = yield* Effect.flip(Layer.build(brokerProcess.layer(settings).pipe(Layer.provide(Readiness.layer))))
    assert.match(message, /one.*"local".*Set MILLRACE_CELL/u)
  })))

  it.effect("is any but the default, or any at all where nobody else can buy", () => Effect.gen(function*() {
    const refused = (cell: string, endpoint: string) => Effect.map(Effect.result(cellNamed(cell, [{ ...entry, endpoint }])), ({ _tag }) => _tag === "Failure")
    assert.isFalse(yield* refused("north", "https://cloud.example"))
    for (const endpoint of ["http://127.0.0.1:80", "http://localhost:8080/v1", "http://[::1]:1", "https://127.1.2.3"]) assert.isFalse(yield* refused("local", endpoint), endpoint)
    for (const endpoint of ["https://cloud.example", "https://127.0.0.1.example", "https://ec2.{region}.example", "10.0.0.1", "https://localhost.example"]) assert.isTrue(yield* refused("local", endpoint), endpoint)
    assert.strictEqual((yield* Effect.result(cellNamed("local", [])))._tag, "Success")
  }))
})
