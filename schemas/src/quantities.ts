import { Effect, Schema, SchemaGetter } from "effect"

const whole = Schema.Int.pipe(Schema.check(Schema.isGreaterThanOrEqualTo(0)))

/** A length of time in whole milliseconds. */
export const Millis = whole
/** A moment, in milliseconds since 1970-01-01T00:00:00Z. */
export const EpochMillis = whole
/** A sequence of a stream, or 0 for "before the first". */
export const Sequence = whole
/** Thousandths of a processor core. */
export const CpuMilli = whole
/** Mebibytes (2^20 bytes). */
export const Mebibytes = whole
/** Bytes. */
export const Bytes = whole
/** Thousandths of one GPU; 1000 is a whole one. */
export const GpuMilli = whole.pipe(Schema.check(Schema.isLessThanOrEqualTo(1000)))
/** How many. */
export const Count = whole

/**
 * Money: whole pico-dollars (10^-12 US dollars). A bigint in the program, a decimal string in a fact,
 * because a JSON or msgpack reader elsewhere may hold only 53 bits.
 */
export const PicoDollars = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^-?(0|[1-9][0-9]{0,30})$/u)),
  Schema.decodeTo(Schema.BigInt, {
    decode: SchemaGetter.transform((text: string) => BigInt(text)),
    encode: SchemaGetter.transform((amount: bigint) => amount.toString())
  })
)
export type PicoDollars = typeof PicoDollars.Type

/** SHA-256 of some bytes, as `sha256:` and 64 lower-case hexadecimal digits. */
export const Digest = Schema.String.pipe(
  Schema.check(Schema.isPattern(/^sha256:[0-9a-f]{64}$/u)),
  Schema.brand("Digest")
)
export type Digest = typeof Digest.Type

/** Bytes that are too many for a fact: they lie in the blob store under their digest. */
export const BlobRef = Schema.Struct({ digest: Digest, sizeBytes: Bytes })
export type BlobRef = typeof BlobRef.Type

/**
 * Bytes under the key of a workspace (AES-256-GCM; `nonce` and `sealed` in base64url, the tag at the
 * end of `sealed`). Dropping the key is forgetting them, in every copy of the log at once.
 */
export const Sealed = Schema.Struct({
  key: Schema.String.pipe(Schema.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,39}\/[0-9]{1,6}$/u))),
  nonce: Schema.String,
  sealed: Schema.String
})
export type Sealed = typeof Sealed.Type

/** What a job needs, or a host has. `gpus` counts whole devices; a job may ask for a part of one instead, by `gpuMilli`. */
export const Resources = Schema.Struct({
  cpuMilli: CpuMilli,
  memoryMib: Mebibytes,
  diskMib: Mebibytes.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  gpus: Count.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0))),
  /** A part of one device, shared with others. Nobody asks for parts and whole ones at once. */
  gpuMilli: Schema.optionalKey(GpuMilli)
})
export type Resources = typeof Resources.Type
