import { Clock, Effect, Schema } from "effect"
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, randomBytes } from "node:crypto"
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { keysIn } from "./places.ts"

/** A cell's folder cannot be prepared. */
export class PreparationFailed extends Schema.TaggedError<PreparationFailed>()("PreparationFailed", { folder: Schema.String, detail: Schema.String, remedy: Schema.String }) {
  readonly code = "preparation_failed"
  override get message() {
    return `The cell's folder ${this.folder} cannot be prepared: ${this.detail}. ${this.remedy}`
  }
}

/** How long the first host's one-time key opens the door, in ms. */
const enrolmentMs = 365 * 24 * 3_600_000

/** Who owns a cell that is prepared here, until they say otherwise. */
export const firstOwner = { principal: "user:owner", workspace: "main" } as const

/**
 * Makes the keys of a cell that are missing in a folder (made, with mode 0700, when it is), each in a file for its
 * owner alone, and says where they lie: all but the log's accounts, which its server's package makes. What is there
 * stays as it is. A run that is killed leaves whole files only, and the next one makes the rest.
 */
export const makeKeys = Effect.fnUntraced(function*(folder: string) {
  const nowMs = yield* Clock.currentTimeMillis
  const at = keysIn(folder)
  yield* Effect.try({
    try: () => {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      makePair(at.cell)
      makePair(at.session)
      once(at.broker, freshSecret)
      const token = once(at.token, () => `mill_${freshSecret()}`).trim()
      always(at.owner, `${JSON.stringify({ digest: digestOf(token), ...firstOwner }, null, 2)}\n`)
      open(at.enrolments, once(at.oneTimeKey, freshSecret).trim(), nowMs)
    },
    catch: (cause) => failed(folder, cause)
  })
  return at
})

/** What is wrong with a folder, as its user can mend it. */
export const failed = (folder: string, cause: unknown): PreparationFailed =>
  new PreparationFailed({ folder, detail: cause instanceof Error ? cause.message : String(cause), remedy: "Make it and its files writable for this user, or name another folder" })

const freshSecret = () => `${randomBytes(32).toString("base64url")}\n`
const digestOf = (secret: string) => `sha256:${hash("sha256", secret, "hex")}`

interface OpenKey {
  readonly digest: string
}

/** Hosts may enrol with this key. A door that is open stays open for as long as it was. */
const open = (path: string, key: string, nowMs: number) => {
  const keys: ReadonlyArray<OpenKey> = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).keys : []
  const digest = digestOf(key)
  if (keys.some((one) => one.digest === digest)) return
  const opened = { digest, workspace: firstOwner.workspace, openedBy: firstOwner.principal, expiresAtMs: nowMs + enrolmentMs }
  always(path, `${JSON.stringify({ keys: [...keys, opened] }, null, 2)}\n`)
}

/** An Ed25519 key in PKCS#8 PEM, and its public half beside it, which anybody may read. */
const makePair = (path: string) => {
  const pem = once(path, () => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }) as string)
  always(`${path}.pub`, createPublicKey(createPrivateKey(pem)).export({ type: "spki", format: "pem" }) as string, 0o644)
}

/** A file that is made once; of two processes that make it at once, one's is kept for both. Gives what it holds. */
export const once = (path: string, text: () => string): string => {
  if (!existsSync(path)) {
    const draft = written(path, text(), 0o600)
    try {
      // Unlike a rename, a link refuses a name that is taken: nobody's key is replaced.
      linkSync(draft, path)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause
    } finally {
      rmSync(draft)
    }
    settled(dirname(path))
  }
  return readFileSync(path, "utf8")
}

/** A file that follows from others: written anew where it says something else, whole or not at all. */
export const always = (path: string, text: string, mode = 0o600): void => {
  if (existsSync(path) && readFileSync(path, "utf8") === text) return
  renameSync(written(path, text, mode), path)
  settled(dirname(path))
}

/** On the disk before it has its name: after a power cut a key is there, or was never told. */
const written = (path: string, text: string, mode: number): string => {
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`)
  const file = openSync(draft, "wx", mode)
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  return draft
}

const settled = (folder: string) => {
  const handle = openSync(folder, "r")
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
