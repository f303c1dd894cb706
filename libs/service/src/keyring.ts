import { Sealed, type WorkspaceName } from "@millrace/schemas"
import { Context, Effect, Schema } from "effect"
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto"

/** The key is gone: nobody can read these bytes again, here or in any copy of the log. */
export class KeyForgotten extends Schema.TaggedError<KeyForgotten>()("KeyForgotten", { key: Schema.String }) {
  override get message() {
    return `The key ${this.key} is not held here. If it was forgotten, what it sealed is gone; if not, check that MILLRACE_KEYS names the folder that holds it`
  }
}

/** These bytes were not sealed under this key for this place, or were changed since. */
export class SealBroken extends Schema.TaggedError<SealBroken>()("SealBroken", { key: Schema.String }) {
  override get message() {
    return `A seal under ${this.key} is broken: the bytes or the place they stand in were changed. Take them from another copy of the log`
  }
}

/** The place of the keys does not answer, or is not safe to use. */
export class KeyringUnavailable extends Schema.TaggedError<KeyringUnavailable>()("KeyringUnavailable", {
  doing: Schema.String,
  detail: Schema.String,
  remedy: Schema.String
}) {
  override get message() {
    return `The keys cannot be used while ${this.doing}: ${this.detail}. ${this.remedy}`
  }
}

export interface KeyringShape {
  /**
   * Seals bytes under the newest key of a workspace, which is made when there is none. `place` says where the
   * sealed bytes will stand, such as `job_01.../program`; they open nowhere else.
   */
  readonly seal: (workspace: WorkspaceName, content: Uint8Array, place: string) => Effect.Effect<Sealed, KeyringUnavailable>
  /** Opens what was sealed for this place. */
  readonly open: (sealed: Sealed, place: string) => Effect.Effect<Uint8Array, KeyForgotten | SealBroken | KeyringUnavailable>
  /**
   * 32 bytes that follow from the key of this id and a purpose, such as `job_01.../network`: the same to whoever holds
   * that key, and telling nothing of it or of what follows for another purpose (RFC 5869, SHA-256).
   */
  readonly derive: (keyId: string, purpose: string) => Effect.Effect<Uint8Array, KeyForgotten | KeyringUnavailable>
  /** Makes a new key for what is sealed from now on, and gives its id. What older keys sealed still opens. */
  readonly rotate: (workspace: WorkspaceName) => Effect.Effect<string, KeyringUnavailable>
  /** Drops every key that the workspace has: what they sealed cannot be opened again. Twice is once. */
  readonly forget: (workspace: WorkspaceName) => Effect.Effect<void, KeyringUnavailable>
}

/** Seals what may hold a secret before it becomes part of a fact, under a key per workspace. */
export class Keyring extends Context.Service<Keyring, KeyringShape>()("millrace/Keyring") {}

/** Seals a value as the JSON of its schema. */
export const sealValue = <A, I>(schema: Schema.Codec<A, I>) => {
  const encode = Schema.encodeSync(Schema.fromJsonString(schema))
  return (workspace: WorkspaceName, value: A, place: string): Effect.Effect<Sealed, KeyringUnavailable, Keyring> =>
    Keyring.use((keyring) => keyring.seal(workspace, Buffer.from(encode(value)), place))
}

/** Opens a value that was sealed with the same schema. Content of another form counts as a broken seal. */
export const openValue = <A, I>(schema: Schema.Codec<A, I>) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(schema))
  return (sealed: Sealed, place: string): Effect.Effect<A, KeyForgotten | SealBroken | KeyringUnavailable, Keyring> =>
    Keyring.use((keyring) =>
      Effect.flatMap(keyring.open(sealed, place), (bytes) =>
        // The schema's own message would quote the content, which may be a secret.
        Effect.mapError(decode(Buffer.from(bytes).toString("utf8")), () => new SealBroken({ key: sealed.key }))))
}

/** Bytes of an AES-256 key. */
export const KEY_BYTES = 32
/** Bytes of a GCM nonce, NIST SP 800-38D section 5.2.1.1. One key takes 2^32 random ones (section 8.3); rotate before. */
export const NONCE_BYTES = 12
const TAG_BYTES = 16

/** AES-256-GCM over content, key id and place. The nonce must never be used twice with one key. */
export const sealUnder = (
  { content, key, keyId, nonce, place }: {
    readonly key: Uint8Array
    readonly keyId: string
    readonly nonce: Uint8Array
    readonly content: Uint8Array
    readonly place: string
  }
): Sealed => {
  const cipher = createCipheriv("aes-256-gcm", key, nonce)
  cipher.setAAD(standing(keyId, place))
  const sealed = Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()])
  return { key: keyId, nonce: Buffer.from(nonce).toString("base64url"), sealed: sealed.toString("base64url") }
}

/** Opens bytes under a key, or says nothing more than that it cannot be done. */
export const openUnder = (key: Uint8Array, sealed: Sealed, place: string): Effect.Effect<Uint8Array, SealBroken> =>
  Effect.try({
    try: () => {
      const nonce = bytesOf(sealed.nonce)
      const whole = bytesOf(sealed.sealed)
      if (nonce.length !== NONCE_BYTES || whole.length < TAG_BYTES) throw new Error("too short")
      const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(standing(sealed.key, place))
      decipher.setAuthTag(whole.subarray(whole.length - TAG_BYTES))
      return new Uint8Array(Buffer.concat([decipher.update(whole.subarray(0, whole.length - TAG_BYTES)), decipher.final()]))
    },
    catch: () => new SealBroken({ key: sealed.key })
  })

/** What follows from a key for one purpose. Sealing uses the key itself, so no purpose gives what seals. */
export const derivedFrom = (key: Uint8Array, purpose: string): Uint8Array =>
  new Uint8Array(hkdfSync("sha256", key, "", `millrace derived\n${purpose}`, KEY_BYTES))

const standing = (keyId: string, place: string) => Buffer.from(`${keyId}\n${place}`)

/** Node's decoder skips what is no base64url; two texts must not stand for the same seal. */
const bytesOf = (text: string): Buffer => {
  const bytes = Buffer.from(text, "base64url")
  if (bytes.toString("base64url") !== text) throw new Error("not base64url")
  return bytes
}

/** `acme/3`: the workspace and the version of its key. */
export const keyIdOf = (workspace: string, version: number): string => `${workspace}/${version}`

const KEY_ID = /^([a-z][a-z0-9-]{0,39})\/([1-9][0-9]{0,5})$/u

/** The parts of a key id; nothing where it names none, so that no path can be made of it. */
export const partsOf = (keyId: string): { readonly workspace: string; readonly version: number } | undefined => {
  const [, workspace, version] = KEY_ID.exec(keyId) ?? []
  return workspace === undefined ? undefined : { workspace, version: Number(version) }
}
