import { randomBytes } from "node:crypto"
import { statSync } from "node:fs"
import { chmod, link, mkdir, open, readdir, readFile, rename, stat, unlink } from "node:fs/promises"
import { join } from "node:path"
import { Effect, Layer } from "effect"
import {
  derivedFrom,
  KEY_BYTES,
  KeyForgotten,
  Keyring,
  keyIdOf,
  KeyringUnavailable,
  type KeyringShape,
  NONCE_BYTES,
  openUnder,
  partsOf,
  sealUnder
} from "./keyring.ts"

/**
 * Keys in a folder that only its owner may enter: `<folder>/<workspace>/<version>.key`, 32 bytes each.
 * A version is made by linking a finished file to its name, so processes that make the same one at once
 * agree on whose it is. A forgotten key leaves an empty file, so its version is never used again.
 * What one process forgets, no other opens: keys are held in memory only for as long as the workspace's
 * folder has not changed since they were read. The medium may keep old blocks; put the folder on an
 * encrypted one.
 */
export const keyringInFolder = (folder: string): Layer.Layer<Keyring, KeyringUnavailable> =>
  Layer.effect(Keyring, Effect.as(attempt("opening the folder of the keys", () => prepare(folder)), make(folder)))

const make = (folder: string): KeyringShape => {
  const held = new Held(folder)
  const keyNamed = Effect.fnUntraced(function*(keyId: string, doing: string) {
    const named = partsOf(keyId)
    const key = named && (yield* attempt(doing, () =>
      held.get(named.workspace, named.version, () => readKey(fileOf(folder, named.workspace, named.version)))))
    return key ?? (yield* new KeyForgotten({ key: keyId }))
  })
  return {
    seal: (workspace, content, place) =>
      Effect.map(attempt(`sealing for ${workspace}`, () => held.get(workspace, "newest", () => newest(folder, workspace))), ({ key, version }) =>
        sealUnder({ key, keyId: keyIdOf(workspace, version), nonce: randomBytes(NONCE_BYTES), content, place })),
    open: (sealed, place) => Effect.flatMap(keyNamed(sealed.key, `opening ${sealed.key}`), (key) => openUnder(key, sealed, place)),
    derive: (keyId, purpose) => Effect.map(keyNamed(keyId, `deriving from ${keyId}`), (key) => derivedFrom(key, purpose)),
    rotate: (workspace) =>
      Effect.map(attempt(`rotating the key of ${workspace}`, () => rotated(folder, workspace)), (version) => keyIdOf(workspace, version)),
    forget: (workspace) => attempt(`forgetting the keys of ${workspace}`, () => forget(folder, workspace))
  }
}

/**
 * What was read of each workspace's folder, for as long as that folder stays as it was: making, rotating and
 * forgetting keys all change a name in it, and so its time. A folder that changed only just now may change
 * again within the same tick of the file system's clock, so what is read then is not held.
 */
class Held {
  readonly #folder: string
  readonly #workspaces = new Map<string, { readonly changedMs: number; readonly read: Map<string | number, unknown> }>()

  constructor(folder: string) {
    this.#folder = folder
  }

  async get<A>(workspace: string, what: string | number, read: () => Promise<A>): Promise<A> {
    const changedMs = this.#changedMs(workspace)
    const known = this.#workspaces.get(workspace)
    if (known !== undefined && known.changedMs === changedMs && known.read.has(what)) return known.read.get(what) as A
    const found = await read()
    if (changedMs !== undefined && Date.now() - changedMs > SETTLED_MS && this.#changedMs(workspace) === changedMs) {
      const held = known !== undefined && known.changedMs === changedMs ? known : { changedMs, read: new Map() }
      held.read.set(what, found)
      this.#workspaces.set(workspace, held)
    }
    return found
  }

  #changedMs(workspace: string): number | undefined {
    return statSync(join(this.#folder, workspace), { throwIfNoEntry: false })?.mtimeMs
  }
}

/** Longer than a tick of any file system's clock that we know, in ms. */
const SETTLED_MS = 100

const fileOf = (folder: string, workspace: string, version: number) => join(folder, workspace, `${version}.key`)

const prepare = async (folder: string) => {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { mode, uid } = await stat(folder)
  if (process.getuid !== undefined && uid !== process.getuid()) throw new NotSafe(`${folder} belongs to another user`)
  if ((mode & 0o077) !== 0) throw new NotSafe(`${folder} is open to other users (mode ${(mode & 0o777).toString(8)})`)
}

/** The newest key that is held, made if there is none. */
const newest = async (folder: string, workspace: string): Promise<{ readonly key: Uint8Array; readonly version: number }> => {
  // Each round makes a version unless another process was first; only forgetting in between asks for one more.
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const version = await newestVersion(folder, workspace)
    const key = version === 0 ? undefined : await readKey(fileOf(folder, workspace, version))
    if (key !== undefined) return { key, version }
    await create(folder, workspace, version + 1)
  }
  throw new NotSafe(`keys of ${workspace} are forgotten as fast as they are made`)
}

const ROUNDS_MAX = 16

/** Makes the next version. Where another process made it first, theirs is the new key for both. */
const rotated = async (folder: string, workspace: string): Promise<number> => {
  const version = (await newestVersion(folder, workspace)) + 1
  await create(folder, workspace, version)
  return version
}

const newestVersion = async (folder: string, workspace: string): Promise<number> =>
  Math.max(0, ...await versions(folder, workspace))

const versions = async (folder: string, workspace: string): Promise<ReadonlyArray<number>> => {
  const names = await ifThere(readdir(join(folder, workspace)))
  return (names ?? []).flatMap((name) => /^[1-9][0-9]{0,5}\.key$/u.test(name) ? [Number.parseInt(name, 10)] : [])
}

/** An empty file is a forgotten key, no file one that was never here. */
const readKey = async (file: string): Promise<Uint8Array | undefined> => {
  const bytes = await ifThere(readFile(file))
  return bytes?.length === KEY_BYTES ? bytes : undefined
}

const create = async (folder: string, workspace: string, version: number) => {
  await mkdir(join(folder, workspace), { recursive: true, mode: 0o700 })
  const draft = await written(folder, workspace, randomBytes(KEY_BYTES))
  try {
    // Unlike rename, link refuses a name that is taken: the first one wins, and nobody's key is replaced.
    await link(draft, fileOf(folder, workspace, version))
  } catch (cause) {
    if (codeOf(cause) !== "EEXIST") throw cause
  } finally {
    await unlink(draft)
  }
  await settled(join(folder, workspace))
}

const forget = async (folder: string, workspace: string) => {
  for (const version of await versions(folder, workspace)) {
    await rename(await written(folder, workspace, new Uint8Array()), fileOf(folder, workspace, version))
  }
  await ifThere(settled(join(folder, workspace)))
}

/** A finished file under a name of its own: whoever sees its later name sees all of it. */
const written = async (folder: string, workspace: string, content: Uint8Array): Promise<string> => {
  const draft = join(folder, workspace, `.${randomBytes(8).toString("hex")}.draft`)
  const file = await open(draft, "wx", 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  await chmod(draft, 0o600)
  return draft
}

/** A name lasts only when its folder has been written, too. */
const settled = async (folder: string) => {
  const handle = await open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const ifThere = async <A>(promise: Promise<A>): Promise<A | undefined> => {
  try {
    return await promise
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined
    throw cause
  }
}

const codeOf = (cause: unknown): string | undefined => (cause as NodeJS.ErrnoException | null)?.code

class NotSafe extends Error {}

/** File errors name paths and codes, never content; anything else is a bug and stays one. */
const attempt = <A>(doing: string, run: () => Promise<A>): Effect.Effect<A, KeyringUnavailable> =>
  Effect.uninterruptible(Effect.tryPromise({ try: run, catch: (cause) => cause })).pipe(
    Effect.catch((cause) =>
      cause instanceof NotSafe
        ? Effect.fail(new KeyringUnavailable({ doing, detail: cause.message, remedy: "Give the folder to this user alone (chmod 700)" }))
        : codeOf(cause) !== undefined
        ? Effect.fail(new KeyringUnavailable({ doing, detail: String((cause as Error).message), remedy: "Check the folder that MILLRACE_KEYS names" }))
        : Effect.die(cause))
  )
