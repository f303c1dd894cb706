import { assert, describe, it } from "@effect/vitest"
import { claimsIn, jwtInCreds, services } from "@millrace/journal/admission"
import { Effect } from "effect"
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { openCellKeys } from "./index.ts"
import { folder } from "./testing/cell-under-test.ts"

/** What a client shows in its first line, with room for what else stands in it. */
const JWT_BYTES_MAX = 24_000

describe("a cell's keys", () => {
  it.live("are made once, for their owner alone, and stay as they are", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const where = { keysDir: join(dir, "keys"), storeDir: join(dir, "store") }
      const keys = yield* openCellKeys(where)
      const read = () => readdirSync(keys.folder).toSorted().map((name) => [name, readFileSync(join(keys.folder, name), "utf8")])
      const first = read()
      assert.strictEqual(statSync(keys.folder).mode & 0o777, 0o700)
      for (const [name] of first) assert.strictEqual(statSync(join(keys.folder, name as string)).mode & 0o777, 0o600, name)
      for (const name of Object.keys(services)) assert.include(readdirSync(keys.folder), `${name}.creds`)
      yield* openCellKeys(where)
      assert.deepStrictEqual(read(), first)
    }))

  it.live("are refused when others may read them, or when one is missing", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const where = { keysDir: join(dir, "keys"), storeDir: join(dir, "store") }
      yield* openCellKeys(where)
      chmodSync(join(where.keysDir, "operator-signing.nk"), 0o640)
      const open = yield* Effect.flip(openCellKeys(where))
      assert.match(open.message, /operator-signing\.nk.*Remedy: chmod/)
      const other = { ...where, keysDir: join(dir, "empty") }
      mkdirSync(other.keysDir, { mode: 0o700 })
      assert.match((yield* Effect.flip(openCellKeys(other))).message, /missing/)
    }))

  it.live("a user whose permissions have changed is signed anew under its old key", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const where = { keysDir: join(dir, "keys"), storeDir: join(dir, "store") }
      const keys = yield* openCellKeys(where)
      const now = claimsIn(jwtInCreds(keys.creds("gateway")))
      const old = `${keys.creds("gateway").split("\n")[1]}`.split(".")
      const narrower = Buffer.from(JSON.stringify({ ...now, nats: { ...now.nats, pub: { allow: [] } } })).toString("base64url")
      writeFileSync(keys.credsFile("gateway"), keys.creds("gateway").replace(old[1] as string, narrower))
      const again = claimsIn(jwtInCreds((yield* openCellKeys(where)).creds("gateway")))
      assert.deepStrictEqual(again.nats, now.nats)
      assert.strictEqual(again.sub, now.sub)
    }))

  it.live("what services show when they connect fits the server's line", () =>
    Effect.gen(function*() {
      const dir = yield* folder
      const keys = yield* openCellKeys({ keysDir: join(dir, "keys"), storeDir: join(dir, "store") })
      for (const name of [...Object.keys(services), "provisioner", "claims"]) assert.isBelow(jwtInCreds(keys.creds(name as never)).length, JWT_BYTES_MAX)
    }))
})
