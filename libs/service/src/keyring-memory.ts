import { Effect, Layer, Random } from "effect"
import { derivedFrom, KEY_BYTES, KeyForgotten, Keyring, keyIdOf, type KeyringShape, NONCE_BYTES, openUnder, partsOf, sealUnder } from "./keyring.ts"

/**
 * Keys in memory, for simulation: keys and nonces come from Effect's Random, so that one seed seals the
 * same bytes to the same text. Never for secrets that matter.
 */
export const keyringInMemory: Layer.Layer<Keyring> = Layer.effect(Keyring, Effect.sync(() => make()))

/** One workspace's keys by version, from 1. A forgotten one leaves its place. */
type Versions = Array<Uint8Array | undefined>

const make = (): KeyringShape => {
  const keys = new Map<string, Versions>()
  const versionsOf = (workspace: string): Versions => {
    const known = keys.get(workspace)
    if (known !== undefined) return known
    const none: Versions = []
    keys.set(workspace, none)
    return none
  }
  const keyNamed = (keyId: string) => {
    const named = partsOf(keyId)
    const key = named && keys.get(named.workspace)?.[named.version - 1]
    return key === undefined ? Effect.fail(new KeyForgotten({ key: keyId })) : Effect.succeed(key)
  }
  const rotate = (workspace: string) =>
    Effect.map(randomBytes(KEY_BYTES), (key) => keyIdOf(workspace, versionsOf(workspace).push(key)))
  return {
    rotate,
    seal: (workspace, content, place) =>
      Effect.gen(function*() {
        const versions = versionsOf(workspace)
        if (versions.at(-1) === undefined) yield* rotate(workspace)
        const key = versions.at(-1)
        if (key === undefined) return yield* Effect.die(new Error(`no key was made for ${workspace}`))
        const nonce = yield* randomBytes(NONCE_BYTES)
        return sealUnder({ key, keyId: keyIdOf(workspace, versions.length), nonce, content, place })
      }),
    open: (sealed, place) => Effect.flatMap(keyNamed(sealed.key), (key) => openUnder(key, sealed, place)),
    derive: (keyId, purpose) => Effect.map(keyNamed(keyId), (key) => derivedFrom(key, purpose)),
    forget: (workspace) => Effect.sync(() => void versionsOf(workspace).fill(undefined))
  }
}

const randomBytes = (length: number): Effect.Effect<Uint8Array> =>
  Effect.map(
    Effect.all(Array.from({ length }, () => Random.nextIntBetween(0, 256))),
    (bytes) => Uint8Array.from(bytes)
  )
