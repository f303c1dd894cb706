import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { networkInterfaces } from "node:os"
import { addressTowards } from "./own-address.ts"

describe("the address that others reach a machine at", () => {
  it.live("is the one on the way to them, and none where they are here or nowhere", () => Effect.gen(function*() {
    const outward = Object.values(networkInterfaces()).flat().find((one) => one?.family === "IPv4" && !one.internal)?.address
    // What lies behind the machine's own address is the machine; its routes lead there by that very address.
    if (outward !== undefined) assert.strictEqual(yield* addressTowards(`http://${outward}:8081`), outward)
    assert.isUndefined(yield* addressTowards("http://127.0.0.1:8081"))
    assert.isUndefined(yield* addressTowards("http://[::1]:8081"))
    assert.isUndefined(yield* addressTowards("https://nobody.invalid"))
  }))
})
