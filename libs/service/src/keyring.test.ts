import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Program, Sealed, WorkspaceName } from "@millrace/schemas"
import { Context, Effect, Layer, Random, Schema } from "effect"
import { keyringInFolder } from "./keyring-folder.ts"
import { keyringInMemory } from "./keyring-memory.ts"
import { KeyForgotten, Keyring, openValue, sealValue } from "./keyring.ts"
import { startChild } from "./testing.ts"

const acme = WorkspaceName.make("acme")
const other = WorkspaceName.make("other")
const bytes = (text: string) => new Uint8Array(Buffer.from(text))

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "millrace-keys-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
const inAFolder = Layer.unwrap(Effect.map(folder, (path) => Layer.fresh(keyringInFolder(join(path, "keys")))))

const keepsItsPromises = (name: string, layer: Layer.Layer<Keyring, unknown>) =>
  describe(`a keyring ${name}`, () => {
    it.effect.prop("opens what it sealed, and nothing that was changed", [Schema.Uint8Array, Schema.String, Schema.Natural], ([content, place, at]) =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const sealed = yield* keyring.seal(acme, content, place)
        assert.isTrue(Schema.is(Sealed)(sealed))
        assert.deepStrictEqual(yield* keyring.open(sealed, place), new Uint8Array(content))
        const changes: ReadonlyArray<Sealed> = [
          { ...sealed, sealed: flipped(sealed.sealed, at) },
          { ...sealed, nonce: flipped(sealed.nonce, at) },
          { ...sealed, sealed: sealed.sealed.slice(0, -2) },
          { ...sealed, sealed: `${sealed.sealed}=` },
          { ...sealed, nonce: "" }
        ]
        for (const changed of changes) assert.strictEqual((yield* Effect.flip(keyring.open(changed, place)))._tag, "SealBroken")
        assert.strictEqual((yield* Effect.flip(keyring.open(sealed, `${place}/elsewhere`)))._tag, "SealBroken")
      }).pipe(Effect.provide(layer)), { arbitrary: { runs: 20 } })

    it.live("keeps workspaces apart", () =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const sealed = yield* keyring.seal(acme, bytes("ours"), "here")
        yield* keyring.seal(other, bytes("theirs"), "here")
        assert.strictEqual((yield* Effect.flip(keyring.open({ ...sealed, key: "other/1" }, "here")))._tag, "SealBroken")
      }).pipe(Effect.provide(layer)))

    it.live("opens what older keys sealed, and seals with the newest", () =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const first = yield* keyring.seal(acme, bytes("first"), "here")
        assert.strictEqual(yield* keyring.rotate(acme), "acme/2")
        const second = yield* keyring.seal(acme, bytes("second"), "here")
        assert.deepStrictEqual([first.key, second.key], ["acme/1", "acme/2"])
        assert.deepStrictEqual(yield* keyring.open(first, "here"), bytes("first"))
        assert.strictEqual((yield* Effect.flip(keyring.open({ ...first, key: "acme/2" }, "here")))._tag, "SealBroken")
      }).pipe(Effect.provide(layer)))

    it.live("derives the same bytes from a key for the same purpose, others for any other, and none from a key that is gone", () =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const { key } = yield* keyring.seal(acme, bytes("ours"), "here")
        const derived = yield* keyring.derive(key, "one")
        assert.strictEqual(derived.length, 32)
        assert.deepStrictEqual(yield* keyring.derive(key, "one"), derived)
        assert.notDeepEqual(yield* keyring.derive(key, "two"), derived)
        assert.notDeepEqual(yield* keyring.derive(yield* keyring.rotate(acme), "one"), derived)
        yield* keyring.forget(acme)
        assert.strictEqual((yield* Effect.flip(keyring.derive(key, "one")))._tag, "KeyForgotten")
        assert.strictEqual((yield* Effect.flip(keyring.derive("nobody/1", "one")))._tag, "KeyForgotten")
      }).pipe(Effect.provide(layer)))

    it.live("forgets for good: the version is never used again, and other workspaces keep theirs", () =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const gone = yield* keyring.seal(acme, bytes("gone"), "here")
        const kept = yield* keyring.seal(other, bytes("kept"), "here")
        yield* keyring.forget(acme)
        yield* keyring.forget(acme)
        const forgotten = yield* Effect.flip(keyring.open(gone, "here"))
        assert.deepStrictEqual([forgotten._tag, forgotten._tag === "KeyForgotten" && forgotten.key], ["KeyForgotten", "acme/1"])
        assert.strictEqual((yield* keyring.seal(acme, bytes("new"), "here")).key, "acme/2")
        assert.strictEqual((yield* Effect.flip(keyring.open(gone, "here")))._tag, "KeyForgotten")
        assert.deepStrictEqual(yield* keyring.open(kept, "here"), bytes("kept"))
      }).pipe(Effect.provide(layer)))

    it.live("knows no key by a name that is none", () =>
      Effect.gen(function*() {
        const keyring = yield* Keyring
        const sealed = yield* keyring.seal(acme, bytes("ours"), "here")
        for (const key of ["acme/2", "acme/0", "acme/01", "nobody/1", "../acme/1", "acme/../acme/1", "acme", ""]) {
          assert.strictEqual((yield* Effect.flip(keyring.open({ ...sealed, key }, "here")))._tag, "KeyForgotten", key)
        }
      }).pipe(Effect.provide(layer)))

    it.live("seals a program, and tells nothing of it when it opens as something else", () =>
      Effect.gen(function*() {
        const program = { argv: ["train", "--token=tell-nobody"], env: { A: "1" }, labels: {} }
        const sealed = yield* sealValue(Program)(acme, program, "job/program")
        assert.notInclude(JSON.stringify(sealed), "tell")
        assert.deepStrictEqual(yield* openValue(Program)(sealed, "job/program"), program)
        const wrong = yield* Effect.flip(openValue(Schema.Struct({ argv: Schema.Int }))(sealed, "job/program"))
        assert.notInclude(`${wrong._tag} ${wrong.message} ${JSON.stringify(wrong)} ${String(wrong.stack)}`, "tell-nobody")
      }).pipe(Effect.provide(layer)))
  })

const flipped = (text: string, at: number): string => {
  const changed = Buffer.from(text, "base64url")
  const index = at % changed.length
  changed.writeUInt8(changed.readUInt8(index) ^ 1, index)
  return changed.toString("base64url")
}

keepsItsPromises("in memory", Layer.fresh(keyringInMemory))
keepsItsPromises("in a folder", inAFolder)

describe("keys in memory", () => {
  it.effect("seal the same bytes to the same text under the same seed", () =>
    Effect.gen(function*() {
      const once = Keyring.use((keyring) => keyring.seal(acme, bytes("again"), "here")).pipe(
        Effect.provide(Layer.fresh(keyringInMemory)),
        Random.withSeed("seed")
      )
      assert.deepStrictEqual(yield* once, yield* once)
    }))
})

describe("keys in a folder", () => {
  it.live("are for their owner alone, and a folder that others may enter is refused", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys")
      const seal = Keyring.use((keyring) => keyring.seal(acme, bytes("x"), "here")).pipe(Effect.provide(Layer.fresh(keyringInFolder(path))))
      yield* seal
      const modes = [path, join(path, "acme"), join(path, "acme", "1.key")].map((file) => (statSync(file).mode & 0o777).toString(8))
      assert.deepStrictEqual(modes, ["700", "700", "600"])
      chmodSync(path, 0o750)
      const refused = yield* Effect.flip(seal)
      assert.match(refused.message, /open to other users \(mode 750\)\. Give the folder to this user alone \(chmod 700\)$/u)
    }))

  it.live("made by three processes at once are one key", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys")
      const script = join(import.meta.dirname, "testing", "make-key.ts")
      const words = ["one", "two", "three"]
      const children = yield* Effect.all(words.map((word) => startChild(script, {}, [path, word])))
      const sealed: Array<Sealed> = []
      for (const child of children) {
        assert.deepStrictEqual(yield* child.exited, { code: 0, signal: null })
        sealed.push(Schema.decodeUnknownSync(Schema.fromJsonString(Sealed))(child.stdout()))
      }
      assert.deepStrictEqual(readdirSync(join(path, "acme")), ["1.key"])
      const opened = yield* Effect.forEach(sealed, (one) => Keyring.use((keyring) => keyring.open(one, "here"))).pipe(
        Effect.provide(keyringInFolder(path))
      )
      assert.deepStrictEqual(opened.map((word) => Buffer.from(word).toString()), words)
    }))

  it.live("made by many at once within a process are one key, and rotated at once stay in order", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys")
      yield* Effect.gen(function*() {
        const keyring = yield* Keyring
        const sealed = yield* Effect.all(Array.from({ length: 20 }, () => keyring.seal(acme, bytes("x"), "here")), { concurrency: 20 })
        yield* Effect.all([keyring.rotate(acme), keyring.rotate(acme)], { concurrency: 2 })
        for (const one of sealed) assert.deepStrictEqual(yield* keyring.open(one, "here"), bytes("x"))
      }).pipe(Effect.provide(keyringInFolder(path)))
      assert.isTrue(readdirSync(join(path, "acme")).every((name) => /^[123]\.key$/u.test(name)))
    }))

  it.live("held in memory are let go when another process turns or forgets them", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys")
      const another = yield* Layer.build(Layer.fresh(keyringInFolder(path)))
      yield* Effect.gen(function*() {
        const keyring = yield* Keyring
        const first = yield* keyring.seal(acme, bytes("x"), "here")
        yield* Effect.sleep("150 millis")
        for (let round = 0; round < 3; round++) assert.deepStrictEqual(yield* keyring.open(first, "here"), bytes("x"))
        yield* Context.get(another, Keyring).rotate(acme)
        assert.strictEqual((yield* keyring.seal(acme, bytes("y"), "here")).key, "acme/2")
        yield* Context.get(another, Keyring).forget(acme)
        assert.instanceOf(yield* Effect.flip(keyring.open(first, "here")), KeyForgotten)
      }).pipe(Effect.provide(Layer.fresh(keyringInFolder(path))))
    }))

  it.live("leave no byte of a forgotten key behind in the folder", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "keys")
      yield* Keyring.use((keyring) => Effect.andThen(keyring.seal(acme, bytes("x"), "here"), keyring.forget(acme))).pipe(
        Effect.provide(keyringInFolder(path))
      )
      assert.deepStrictEqual(readdirSync(join(path, "acme")), ["1.key"])
      assert.strictEqual(readFileSync(join(path, "acme", "1.key")).length, 0)
    }))
})
