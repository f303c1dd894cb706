import { assert, describe, it } from "@effect/vitest"
import { type Warrant } from "@millrace/schemas"
import { Effect } from "effect"
import { linkSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { cellKey, WarrantSigner, WarrantVerifier } from "./warrant.ts"

const withKey = (body: (path: string) => void) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-cell-"))
  try {
    body(join(folder, "keys", "cell.pem"))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const warrant = { warrantId: "wrt_0", hostId: "hst_0", attempt: 1, view: { ACCESS: 7 } } as unknown as Warrant

describe("the cell's key", () => {
  it("is made once, for its owner's eyes alone; its public half is for everybody", () =>
    withKey((path) => {
      const made = cellKey(path)
      assert.strictEqual(cellKey(path), made)
      assert.strictEqual(statSync(path).mode & 0o077, 0)
      assert.strictEqual(statSync(`${path}.pub`).mode & 0o444, 0o444)
    }))

  it("has a public half that is left alone while it is right, and replaced whole when it is not", () =>
    withKey((path) => {
      cellKey(path)
      const whole = readFileSync(`${path}.pub`, "utf8")
      const { ctimeNs, ino } = statSync(`${path}.pub`, { bigint: true })
      cellKey(path)
      assert.deepInclude(statSync(`${path}.pub`, { bigint: true }), { ctimeNs, ino })
      writeFileSync(`${path}.pub`, whole.slice(0, 20))
      linkSync(`${path}.pub`, `${path}.read`)
      cellKey(path)
      assert.strictEqual(readFileSync(`${path}.pub`, "utf8"), whole)
      assert.strictEqual(readFileSync(`${path}.read`, "utf8"), whole.slice(0, 20), "it was written in place, where somebody may be reading")
    }))

  it.effect("signs many aside as it signs each, in their order", () =>
    Effect.suspend(() => {
      const folder = mkdtempSync(join(tmpdir(), "millrace-cell-"))
      return Effect.gen(function*() {
        const { sign, signAll } = yield* WarrantSigner
        const warrants = Array.from({ length: 100 }, (_, attempt): Warrant => ({ ...warrant, attempt: attempt as never }))
        assert.deepStrictEqual(yield* signAll!(warrants), warrants.map(sign))
        assert.strictEqual(new Set(warrants.map(sign)).size, 100)
      }).pipe(Effect.provide(WarrantSigner.layer(join(folder, "cell.pem"))), Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true, force: true }))))
    }))

  it.effect("signs warrants that its public half knows, and knows an altered one", () =>
    Effect.suspend(() => {
      const folder = mkdtempSync(join(tmpdir(), "millrace-cell-"))
      const path = join(folder, "cell.pem")
      return Effect.gen(function*() {
        const signature = yield* Effect.provide(WarrantSigner.useSync(({ sign }) => sign(warrant)), WarrantSigner.layer(path))
        const verify = (shown: Warrant) => Effect.provide(WarrantVerifier.use((verifier) => verifier.verify(shown, signature)), WarrantVerifier.layer(`${path}.pub`))
        yield* verify({ ...warrant, view: { ACCESS: 7 } })
        assert.strictEqual((yield* Effect.flip(verify({ ...warrant, attempt: 2 as never })))._tag, "WarrantForged")
      }).pipe(Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true, force: true }))))
    }))
})
