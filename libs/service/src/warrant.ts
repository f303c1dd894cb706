import type { Warrant } from "@millrace/schemas"
import { Context, Effect, Layer, Schema } from "effect"
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto"
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"

/** The warrant was not signed by this cell, or was altered since. */
export class WarrantForged extends Schema.TaggedError<WarrantForged>()("WarrantForged", { warrantId: Schema.String }) {
  override get message() {
    return `The warrant ${this.warrantId} does not bear this cell's signature. Nothing was started; compare the host's cell key with the scheduler's`
  }
}

/** Signs what hosts may do. Held by the scheduler alone. */
export class WarrantSigner extends Context.Service<WarrantSigner, {
  /** Ed25519 over the canonical form, in base64url. */
  readonly sign: (warrant: Warrant) => string
  /** The same for many, in their order, beside whatever else this process does: a signature is most of what a placement costs. */
  readonly signAll?: (warrants: ReadonlyArray<Warrant>) => Effect.Effect<ReadonlyArray<string>>
}>()("millrace/WarrantSigner") {
  static readonly layer = (path: string): Layer.Layer<WarrantSigner> =>
    Layer.sync(WarrantSigner, () => signer(createPrivateKey(cellKey(path))))
}

/** Knows the cell's public key. Held by every host. */
export class WarrantVerifier extends Context.Service<WarrantVerifier, {
  readonly verify: (warrant: Warrant, signature: string) => Effect.Effect<void, WarrantForged>
}>()("millrace/WarrantVerifier") {
  /** `path` holds the public key in PEM form. */
  static readonly layer = (path: string): Layer.Layer<WarrantVerifier> =>
    Layer.sync(WarrantVerifier, () => verifier(createPublicKey(readFileSync(path))))
}

/** A signer and its verifier with a key of their own, for one process that is both. */
export const warrantPair: Layer.Layer<WarrantSigner | WarrantVerifier> = Layer.unwrap(Effect.sync(() => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  return Layer.merge(Layer.succeed(WarrantSigner, signer(privateKey)), Layer.succeed(WarrantVerifier, verifier(publicKey)))
}))

/**
 * The cell's key, made once: PKCS#8 PEM at `path` (0600), the public half in `<path>.pub`. Two processes
 * that start together agree, because only one of them can link its file into place.
 */
export const cellKey = (path: string): string => {
  const make = () => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const draft = `${path}.${process.pid}`
    writeFileSync(draft, generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 })
    try {
      linkSync(draft, path)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause
    } finally {
      rmSync(draft)
    }
    return readFileSync(path, "utf8")
  }
  let pem: string
  try {
    pem = readFileSync(path, "utf8")
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause
    pem = make()
  }
  publish(`${path}.pub`, createPublicKey(createPrivateKey(pem)).export({ type: "spki", format: "pem" }) as string)
  return pem
}

/** Hosts read the public half whenever they start: it is never half there, and never touched without need. */
const publish = (path: string, pem: string): void => {
  if (existsSync(path) && readFileSync(path, "utf8") === pem) return
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, pem, { mode: 0o644 })
  renameSync(draft, path)
}

const signer = (key: KeyObject): WarrantSigner["Service"] => ({
  sign: (warrant) => sign(null, Buffer.from(canonical(warrant)), key).toString("base64url"),
  signAll: (warrants) => Effect.promise(() => Promise.all(warrants.map((warrant) => signedAside(Buffer.from(canonical(warrant)), key))))
})

/** On a thread of the pool. */
const signedAside = (bytes: Uint8Array, key: KeyObject): Promise<string> =>
  new Promise((resolve, reject) => sign(null, bytes, key, (error, signature) => (error === null ? resolve(signature.toString("base64url")) : reject(error))))

const verifier = (key: KeyObject): WarrantVerifier["Service"] => ({
  verify: (warrant, signature) =>
    verify(null, Buffer.from(canonical(warrant)), key, Buffer.from(signature, "base64url"))
      ? Effect.void
      : Effect.fail(new WarrantForged({ warrantId: warrant.warrantId }))
})

/** JSON with sorted keys, money as decimal text: one text for one warrant (RFC 8785, for values without fractions). */
export const canonical = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map(canonical).join(",")}]`
    : typeof value === "object" && value !== null
    ? `{${Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(",")}}`
    : JSON.stringify(typeof value === "bigint" ? value.toString() : value)
