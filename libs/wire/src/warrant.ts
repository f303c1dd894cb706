import { Clock, Effect, Result, Schema } from "effect"
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto"
import { covers, kindOf } from "./channel-name.ts"
import { Cursor, Writer } from "./cursor.ts"
import { channelsMax } from "./frame.ts"

/**
 * What a warrant says: whoever holds the key `holder` may, on this host alone, open this one session
 * with these channels, from `notBeforeMs` until `expiresAtMs`, and move at most `bytesMax` bytes.
 */
export interface SessionWarrant {
  readonly sessionId: string
  readonly hostId: string
  readonly jobId: string
  /** Which try of the job, from 1. */
  readonly attempt: number
  /** Channel names, or `kind:*` for any detail of a kind. */
  readonly channels: ReadonlyArray<string>
  /** Milliseconds since 1970. The session is ended when `expiresAtMs` comes. */
  readonly notBeforeMs: number
  readonly expiresAtMs: number
  /** Payload bytes of all channels and both directions together. */
  readonly bytesMax: number
  /** The raw Ed25519 public key (32 bytes) of the one who may present the warrant. */
  readonly holder: Uint8Array
}

/** What somebody wants of a host, as it reached the host: nothing in it is believed yet. */
export interface SessionAsk {
  readonly sessionId: string
  readonly hostId: string
  /** Drawn at random when the host started; in the proof, so an old ask is no good after a restart. */
  readonly boot: Uint8Array
  /** 0 opens; each return says a higher number. */
  readonly ordinal: number
  readonly channels: ReadonlyArray<string>
  /** The holder's signature over `proofBytes`. */
  readonly proof: Uint8Array
}

/**
 * What a verified warrant allows. From `expiresAtMs` on, by the host's own clock (so with its skew
 * added), the session is ended and the verifier refuses the warrant.
 */
export type Allowed = Pick<SessionWarrant, "sessionId" | "jobId" | "attempt" | "channels" | "expiresAtMs" | "bytesMax">

/** Why a host turns a session away. The first four are about the warrant, the next about the ask. */
export const RefusalCode = Schema.Literals([
  "warrant_malformed", "warrant_forged", "warrant_not_yet", "warrant_expired",
  "wrong_host", "wrong_session", "channel_not_allowed", "holder_unproven"
])
export type RefusalCode = typeof RefusalCode.Type

/** The warrant does not allow what was asked. */
export class WarrantRefused extends Schema.TaggedError<WarrantRefused>()("WarrantRefused", {
  code: RefusalCode,
  reason: Schema.String
}) {
  override get message() {
    return `The host refused the session (${this.code}): ${this.reason} Ask for a new session to get a fresh warrant.`
  }
}

/**
 * How a host decides on an ask. Called for every opening and every return, so it must not count uses:
 * that a warrant opens one session once is kept by the host end.
 */
export type VerifyWarrant = (warrant: Uint8Array, ask: SessionAsk) => Effect.Effect<Allowed, WarrantRefused>

/** The private half of a session: signs what the client asks, so that a warrant seen is not a warrant had. */
export interface Holder {
  /** Raw Ed25519 public key, 32 bytes, to be put into the warrant. */
  readonly publicKey: Uint8Array
  readonly sign: (bytes: Uint8Array) => Uint8Array
}

/** A holder with a fresh key. One for each session: nobody needs to keep it. */
export const freshHolder = (): Holder => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  return { publicKey: rawPublicKey(publicKey), sign: (bytes) => sign(null, bytes, privateKey) }
}

/**
 * The bytes of a warrant: `body | signature (64 bytes)`. The body is version u8 (1), session text8,
 * host text8, job text8, attempt u32, channels (list of text8), notBeforeMs, expiresAtMs, bytesMax u64,
 * holder 32 bytes, big-endian; equal warrants give equal bytes. What is signed (Ed25519, RFC 8032) is
 * `millrace session warrant 1`, a zero byte, and the body, so the signature is good for nothing else.
 */
export const signWarrant = (warrant: SessionWarrant, privateKey: KeyObject): Uint8Array => {
  const body = encodeBody(warrant)
  return Buffer.concat([body, sign(null, signedBytes(body), privateKey)])
}

/** The warrant in `bytes`, its signature not looked at. */
export const readWarrant = (bytes: Uint8Array): Result.Result<SessionWarrant, WarrantRefused> => {
  const cursor = new Cursor(bytes.subarray(0, Math.max(0, bytes.byteLength - signatureBytes)))
  if (cursor.u8() !== 1) cursor.refuse("its version is not 1")
  const warrant: SessionWarrant = {
    sessionId: cursor.text8(),
    hostId: cursor.text8(),
    jobId: cursor.text8(),
    attempt: cursor.u32(),
    channels: cursor.list(channelsMax, () => cursor.text8()),
    notBeforeMs: cursor.u64(),
    expiresAtMs: cursor.u64(),
    bytesMax: cursor.u64(),
    holder: Uint8Array.from(cursor.raw(32))
  }
  cursor.finish()
  return cursor.wrong === undefined ? Result.succeed(warrant) : refused("warrant_malformed", `${cursor.wrong}.`)
}

/** What a holder signs to open a session or come back to it. Every part is fixed or carries its length. */
export const proofBytes = (ask: Omit<SessionAsk, "channels" | "proof">, warrant: Uint8Array): Uint8Array =>
  new Writer()
    .text8("millrace session open 1").raw(ask.boot).text8(ask.sessionId).text8(ask.hostId).u32(ask.ordinal)
    .raw(createHash("sha256").update(warrant).digest())
    .bytes()

/**
 * Verifies warrants signed with any of `cellKeys` (several while a key is being changed). `skewMs` is
 * how far this clock may be behind or ahead of the cell's.
 */
export const verifyWith = ({ cellKeys, skewMs }: { readonly cellKeys: ReadonlyArray<KeyObject>; readonly skewMs: number }): VerifyWarrant =>
  Effect.fnUntraced(function*(bytes, ask) {
    const nowMs = yield* Clock.currentTimeMillis
    return yield* Effect.fromResult(judge({ bytes, ask, cellKeys, skewMs, nowMs }))
  })

/** A raw Ed25519 public key (32 bytes) as `node:crypto` wants it. */
export const publicKeyFrom = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([spkiPrefix, raw]), format: "der", type: "spki" })

/** The 32 raw bytes of an Ed25519 public key. */
export const rawPublicKey = (key: KeyObject): Uint8Array =>
  Uint8Array.from(key.export({ format: "der", type: "spki" }).subarray(spkiPrefix.byteLength))

/** An Ed25519 private key from its PKCS #8 PEM, to sign warrants with. */
export const privateKeyFrom = (pem: string): KeyObject => createPrivateKey(pem)

/** An Ed25519 public key from its SPKI PEM, to check warrants with. Throws on anything else. */
export const publicKeyOf = (pem: string): KeyObject => createPublicKey(pem)

// The DER of SubjectPublicKeyInfo for id-Ed25519 up to the 32 bytes of the key (RFC 8410, section 4).
const spkiPrefix = Buffer.from("302a300506032b6570032100", "hex")
const signatureBytes = 64

const refused = (code: RefusalCode, reason: string) => Result.fail(new WarrantRefused({ code, reason }))

/**
 * A warrant that one of `cellKeys` has signed and that is for this host and not over, as a relay sees it:
 * whoever shows it may reach the host, and the host itself judges the rest.
 */
export const ticketOf = (
  bytes: Uint8Array,
  { cellKeys, hostId, nowMs }: { readonly cellKeys: ReadonlyArray<KeyObject>; readonly hostId: string; readonly nowMs: number }
): Result.Result<SessionWarrant, WarrantRefused> => {
  const read = signedWarrant(bytes, cellKeys)
  if (Result.isFailure(read)) return read
  const warrant = read.success
  if (warrant.hostId !== hostId) return refused("wrong_host", `It is for host ${warrant.hostId}, not ${hostId}.`)
  if (nowMs >= warrant.expiresAtMs) return refused("warrant_expired", `It ended ${nowMs - warrant.expiresAtMs} ms ago.`)
  return read
}

const signedWarrant = (bytes: Uint8Array, cellKeys: ReadonlyArray<KeyObject>): Result.Result<SessionWarrant, WarrantRefused> => {
  const read = readWarrant(bytes)
  if (Result.isFailure(read)) return read
  const body = bytes.subarray(0, bytes.byteLength - signatureBytes)
  const signature = bytes.subarray(bytes.byteLength - signatureBytes)
  return cellKeys.some((key) => verify(null, signedBytes(body), key, signature)) ? read : refused("warrant_forged", "No key of this cell has signed it.")
}

const judge = ({ bytes, ask, cellKeys, skewMs, nowMs }: {
  readonly bytes: Uint8Array
  readonly ask: SessionAsk
  readonly cellKeys: ReadonlyArray<KeyObject>
  readonly skewMs: number
  readonly nowMs: number
}): Result.Result<Allowed, WarrantRefused> => {
  const read = signedWarrant(bytes, cellKeys)
  if (Result.isFailure(read)) return Result.fail(read.failure)
  const warrant = read.success
  if (warrant.hostId !== ask.hostId) return refused("wrong_host", `It is for host ${warrant.hostId}, this is ${ask.hostId}.`)
  if (warrant.sessionId !== ask.sessionId) return refused("wrong_session", `It is for session ${warrant.sessionId}, not ${ask.sessionId}.`)
  if (nowMs + skewMs < warrant.notBeforeMs) return refused("warrant_not_yet", `It begins in ${warrant.notBeforeMs - nowMs} ms.`)
  if (nowMs >= warrant.expiresAtMs + skewMs) return refused("warrant_expired", `It ended ${nowMs - warrant.expiresAtMs} ms ago.`)
  const foreign = ask.channels.find((name) => kindOf(name) === undefined || !covers(warrant.channels, name))
  if (foreign !== undefined) return refused("channel_not_allowed", `It does not name channel ${foreign}.`)
  if (!verify(null, proofBytes(ask, bytes), publicKeyFrom(warrant.holder), ask.proof)) {
    return refused("holder_unproven", "The ask is not signed by the holder of the warrant, or was signed for another start of this host.")
  }
  const { sessionId, jobId, attempt, channels, bytesMax } = warrant
  return Result.succeed({ sessionId, jobId, attempt, channels, expiresAtMs: warrant.expiresAtMs + skewMs, bytesMax })
}

const encodeBody = (warrant: SessionWarrant): Uint8Array => {
  if (warrant.holder.byteLength !== 32) throw new RangeError(`a holder's key has 32 bytes, not ${warrant.holder.byteLength}`)
  const out = new Writer().u8(1).text8(warrant.sessionId).text8(warrant.hostId).text8(warrant.jobId).u32(warrant.attempt)
  out.list(warrant.channels, (name) => out.text8(name))
  return out.u64(warrant.notBeforeMs).u64(warrant.expiresAtMs).u64(warrant.bytesMax).raw(warrant.holder).bytes()
}

const signedBytes = (body: Uint8Array): Uint8Array => Buffer.concat([Buffer.from("millrace session warrant 1\0"), body])
