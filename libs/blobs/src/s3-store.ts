import type { _Object } from "@aws-sdk/client-s3"
import { type BlobRef, Digest } from "@millrace/schemas"
import { Clock, Config, Effect, Exit, Option, Redacted, Schema, type Scope, Stream } from "effect"
import { randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import { BlobMissing, BlobStoreFull, BlobStoreUnclear } from "./blob-error.ts"
import { onDisk, type Spooled, spooled, sweepSpool } from "./spool.ts"
import type { BlobStore, Held, Range } from "./store.ts"

export interface S3StoreOptions {
  /** Such as `https://s3.eu-central-1.amazonaws.com`. The bucket goes into the path. */
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: Redacted.Redacted<string>
  /** A local folder where bytes wait until they have a name. */
  readonly spool: string
  /** Bytes of one part; larger blobs go in parts. 8 MiB unless given; S3 wants at least 5 MiB. */
  readonly partBytes?: number
  /** A read of which no byte comes for this long, while the reader waits, ends as unclear. 30 s unless given. */
  readonly idleMsMax?: number
}

/** The same from the settings of this process: `BLOBS_S3_ENDPOINT` and so on, and `BLOBS_SPOOL`. */
export const s3Settings: Config.Config<S3StoreOptions> = Config.all({
  endpoint: Config.NonEmptyString("BLOBS_S3_ENDPOINT"),
  region: Config.NonEmptyString("BLOBS_S3_REGION"),
  bucket: Config.NonEmptyString("BLOBS_S3_BUCKET"),
  accessKeyId: Config.NonEmptyString("BLOBS_S3_ACCESS_KEY_ID"),
  secretAccessKey: Config.Redacted("BLOBS_S3_SECRET_ACCESS_KEY"),
  spool: Config.NonEmptyString("BLOBS_SPOOL")
})

/** S3 takes at most this many parts of one object. */
const partsMax = 10_000
/** For this long a mark of removal bars a put, in ms. A mark left by a process that died ends by itself. */
const markMs = 120_000
/** A removal that has not sent its last request this long after its mark gives up, in ms. */
const removalMsMax = 30_000
/** How long one request may take, in ms; with the bound above it ends before the mark does. */
const requestMsMax = 30_000
/** How often, and how far apart in ms, a put looks whether a removal under way is over. */
const looks = { times: 25, apartMs: 200 }

const nameOfCause = (cause: unknown) => (cause as { readonly name?: string } | undefined)?.name ?? ""
const statusOfCause = (cause: unknown) =>
  (cause as { readonly $metadata?: { readonly httpStatusCode?: number } } | undefined)?.$metadata?.httpStatusCode

const isAbsent = ({ cause }: BlobStoreUnclear) =>
  ["NoSuchKey", "NotFound", "NoSuchUpload"].includes(nameOfCause(cause)) || statusOfCause(cause) === 404

const fullNames = ["QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge"]

const fullIfSo = (unclear: BlobStoreUnclear) =>
  fullNames.includes(nameOfCause(unclear.cause)) || statusOfCause(unclear.cause) === 507
    ? new BlobStoreFull({ cause: unclear.cause })
    : unclear

const asking = <A>(doing: string, run: (signal: AbortSignal) => Promise<A>) =>
  Effect.tryPromise({ try: run, catch: (cause) => new BlobStoreUnclear({ doing, cause }) })

const ifThere = <A>(looking: Effect.Effect<A, BlobStoreUnclear>) =>
  looking.pipe(Effect.asSome, Effect.catchIf(isAbsent, () => Effect.succeed(Option.none<A>())))

const hexOf = (digest: Digest) => digest.slice("sha256:".length)
const blobKey = (digest: Digest) => `blobs/${hexOf(digest)}`
const touchKey = (digest: Digest) => `touched/${hexOf(digest)}`
const marksOf = (digest: Digest) => `removing/${hexOf(digest)}/`

/** S3 tells whole seconds. Rounded up, so that nothing looks older than it is. */
const modifiedAtMs = ({ LastModified }: { readonly LastModified?: Date | undefined }) =>
  LastModified === undefined ? 0 : LastModified.getTime() + 999

/** The blob that an object is, if it is one. */
const heldOf = ({ Key = "", Size = 0, LastModified }: _Object): ReadonlyArray<Held> => {
  const digest = `sha256:${Key.slice("blobs/".length)}`
  return Schema.is(Digest)(digest) ? [{ digest, sizeBytes: Size, modifiedAtMs: modifiedAtMs({ LastModified }) }] : []
}

const rangeHeader = ({ offsetBytes, lengthBytes }: Range) =>
  offsetBytes === 0 && lengthBytes === undefined
    ? {}
    : { Range: `bytes=${offsetBytes}-${lengthBytes === undefined ? "" : offsetBytes + lengthBytes - 1}` }

/**
 * Blobs in a bucket of S3 (or of anything that speaks its protocol), by the vendor's client.
 *
 * S3 cannot remove "unless touched since", so puts and removals leave each other notes:
 * - `blobs/<hex>` is the blob, `touched/<hex>` an empty object whose age is that of the last put of
 *   bytes that were there already.
 * - A removal writes a mark `removing/<hex>/<its own>`, then looks at both ages, then removes.
 * - A put writes (the blob, or the touch), then looks for marks, waits until they are gone, and then
 *   looks whether the blob is there; if not, it puts it again.
 *
 * S3 is strongly consistent, so of a put and a removal at least one sees the other's note: either the
 * removal sees a young blob and spares it, or the put sees the removal and looks again when it is over.
 * A mark of a removal that died counts for two minutes; the clocks of S3 and of this process may differ
 * by one minute.
 *
 * Checksums: the client adds CRC-32 to what it sends, its default, and the server refuses what arrives
 * altered. Checking on the way back is left to the SHA-256 above the stores.
 */
export const s3Store = Effect.fnUntraced(function*(
  { endpoint, region, bucket, accessKeyId, secretAccessKey, spool, partBytes = 8 * 1024 * 1024, idleMsMax = 30_000 }: S3StoreOptions
): Effect.fn.Return<BlobStore, BlobStoreUnclear, Scope.Scope> {
  // A process whose blobs lie elsewhere never loads the client.
  const {
    AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand, DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, ListMultipartUploadsCommand,
    ListObjectsV2Command, PutObjectCommand, S3Client, UploadPartCommand
  } = yield* Effect.promise(() => import("@aws-sdk/client-s3"))
  yield* onDisk("make the spool", () => fs.mkdir(spool, { recursive: true }))
  const configured = {
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey: Redacted.value(secretAccessKey) },
    responseChecksumValidation: "WHEN_REQUIRED" as const,
    requestHandler: { connectionTimeout: 5_000, requestTimeout: requestMsMax, throwOnRequestTimeout: true }
  }
  const opened = (maxAttempts: number) =>
    Effect.acquireRelease(
      Effect.sync(() => new S3Client({ ...configured, maxAttempts })),
      (client) => Effect.sync(() => client.destroy())
    )
  const client = yield* opened(5)
  // A removal that is sent again by itself could land after its mark has ended.
  const once = yield* opened(1)

  const ageOf = (key: string) =>
    ifThere(asking("look at an object", (abortSignal) =>
      client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), { abortSignal })))

  const listed = (prefix: string) =>
    Stream.paginate(undefined as string | undefined, Effect.fnUntraced(function*(from) {
      const page = yield* asking("list objects", (abortSignal) =>
        client.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ...(from && { ContinuationToken: from }) }),
          { abortSignal }
        ))
      return [page.Contents ?? [], Option.fromUndefinedOr(page.NextContinuationToken)] as const
    }))

  const head = Effect.fnUntraced(function*(digest: Digest) {
    const blob = yield* ageOf(blobKey(digest))
    if (Option.isNone(blob)) return Option.none<Held>()
    const touched = yield* ageOf(touchKey(digest))
    const touchedAtMs = Option.match(touched, { onNone: () => 0, onSome: modifiedAtMs })
    return Option.some<Held>({
      digest,
      sizeBytes: blob.value.ContentLength ?? 0,
      modifiedAtMs: Math.max(modifiedAtMs(blob.value), touchedAtMs)
    })
  })

  const write = (key: string, body: Uint8Array) =>
    Effect.mapError(
      asking("store an object", (abortSignal) =>
        client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }), { abortSignal })),
      fullIfSo
    )

  const discard = (key: string) =>
    asking("remove an object", (abortSignal) =>
      once.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), { abortSignal }))

  const uploadPart = (target: { Bucket: string; Key: string; UploadId: string }, PartNumber: number, Body: Uint8Array) =>
    Effect.mapError(
      asking("store a part", (abortSignal) =>
        client.send(new UploadPartCommand({ ...target, PartNumber, Body }), { abortSignal })),
      fullIfSo
    ).pipe(Effect.map(({ ETag, ChecksumCRC32 }) => ({ PartNumber, ETag, ChecksumCRC32 })))

  const complete = Effect.fnUntraced(function*(
    target: { Bucket: string; Key: string; UploadId: string },
    Parts: Array<{ PartNumber: number; ETag: string | undefined; ChecksumCRC32: string | undefined }>,
    ref: BlobRef
  ) {
    yield* asking("join the parts", (abortSignal) =>
      client.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts } }), { abortSignal })).pipe(
        // If the first answer was lost, the second says that the upload is no more. Then the object is there.
        Effect.catchIf(isAbsent, Effect.fnUntraced(function*(absent) {
          const there = yield* ageOf(target.Key)
          if (Option.isNone(there) || there.value.ContentLength !== ref.sizeBytes) return yield* absent
        }))
      )
  })

  const uploadInParts = Effect.fnUntraced(function*(file: fs.FileHandle, ref: BlobRef) {
    const Key = blobKey(ref.digest)
    const sizeBytes = Math.max(partBytes, Math.ceil(ref.sizeBytes / partsMax))
    yield* Effect.acquireUseRelease(
      asking("begin an upload", (abortSignal) =>
        client.send(
          new CreateMultipartUploadCommand({ Bucket: bucket, Key, ChecksumAlgorithm: "CRC32" }),
          { abortSignal }
        )),
      Effect.fnUntraced(function*({ UploadId = "" }) {
        const target = { Bucket: bucket, Key, UploadId }
        const parts = []
        for (let at = 0; at < ref.sizeBytes; at += sizeBytes) {
          const part = yield* onDisk("read a spool file", () => readPart(file, at, Math.min(sizeBytes, ref.sizeBytes - at)))
          parts.push(yield* uploadPart(target, parts.length + 1, part))
        }
        yield* complete(target, parts, ref)
      }),
      ({ UploadId = "" }, exit) =>
        Exit.isSuccess(exit) ? Effect.void : Effect.ignore(asking("abort an upload", () =>
          client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }))))
    )
  })

  const upload = ({ path, ref }: Spooled) =>
    Effect.scoped(Effect.gen(function*() {
      const file = yield* Effect.acquireRelease(
        onDisk("open a spool file", () => fs.open(path, "r")),
        (file) => Effect.promise(() => file.close())
      )
      if (ref.sizeBytes > partBytes) return yield* uploadInParts(file, ref)
      yield* write(blobKey(ref.digest), yield* onDisk("read a spool file", () => readPart(file, 0, ref.sizeBytes)))
    }))

  /** Whether a removal that may not have looked at the ages yet, or not removed yet, is under way. */
  const removalUnderWay = Effect.fnUntraced(function*(digest: Digest) {
    const sinceMs = (yield* Clock.currentTimeMillis) - markMs
    return yield* Stream.runFold(listed(marksOf(digest)), () => false, (found, mark) => found || modifiedAtMs(mark) > sinceMs)
  })

  const store = Effect.fnUntraced(function*(whole: Spooled) {
    const { digest, sizeBytes } = whole.ref
    for (let look = 0; look < looks.times; look++) {
      const there = yield* ageOf(blobKey(digest))
      if (Option.isSome(there) && there.value.ContentLength === sizeBytes) yield* write(touchKey(digest), new Uint8Array())
      else yield* upload(whole)
      if (yield* removalUnderWay(digest)) {
        yield* Effect.sleep(looks.apartMs)
        continue
      }
      if (Option.isSome(yield* ageOf(blobKey(digest)))) return whole.ref
    }
    return yield* new BlobStoreUnclear({ doing: "store a blob", cause: "a removal of it did not end" })
  })

  const removeIfOld = Effect.fnUntraced(function*(digest: Digest, untouchedSinceMs: number) {
    const blob = yield* head(digest)
    if (Option.isNone(blob) || blob.value.modifiedAtMs >= untouchedSinceMs) return false
    yield* discard(blobKey(digest))
    yield* discard(touchKey(digest))
    return true
  })

  const marked = Effect.fnUntraced(function*(digest: Digest) {
    const mark = `${marksOf(digest)}${randomUUID()}`
    yield* Effect.catchTag(write(mark, new Uint8Array()), "BlobStoreFull", ({ cause }) =>
      new BlobStoreUnclear({ doing: "mark a removal", cause }))
    return mark
  })

  const remove = (digest: Digest, untouchedSinceMs: number) =>
    Effect.acquireUseRelease(
      marked(digest),
      () =>
        removeIfOld(digest, untouchedSinceMs).pipe(
          Effect.timeoutOrElse({
            duration: removalMsMax,
            orElse: () => new BlobStoreUnclear({ doing: "remove a blob", cause: "it took too long" })
          })
        ),
      // After a failure a request may still be on its way, so the mark stays until it ends by itself.
      (mark, exit) => Exit.isSuccess(exit) ? Effect.ignore(discard(mark)) : Effect.void
    )

  const read = (digest: Digest, range: Range): Stream.Stream<Uint8Array, BlobMissing | BlobStoreUnclear> =>
    Stream.unwrap(Effect.gen(function*() {
      const got = yield* ifThere(asking("read a blob", (abortSignal) =>
        client.send(new GetObjectCommand({ Bucket: bucket, Key: blobKey(digest), ...rangeHeader(range) }), { abortSignal })
      )).pipe(Effect.catchIf(({ cause }) => statusOfCause(cause) === 416, () => Effect.succeed(null)))
      if (got === null) return Stream.empty
      if (Option.isNone(got)) return yield* new BlobMissing({ digest })
      return Stream.fromAsyncIterable(
        got.value.Body as unknown as AsyncIterable<Uint8Array>,
        (cause) => new BlobStoreUnclear({ doing: "read a blob", cause })
      ).pipe(Stream.timeoutOrElse({
        duration: idleMsMax,
        orElse: () => Stream.fail(new BlobStoreUnclear({ doing: "read a blob", cause: `nothing came for ${idleMsMax} ms` }))
      }))
    }))

  const sweepUploads = Effect.fnUntraced(function*(untouchedSinceMs: number) {
    const { Uploads = [] } = yield* asking("list uploads", (abortSignal) =>
      client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: "blobs/" }), { abortSignal }))
    const dead = Uploads.filter(({ Initiated }) => (Initiated?.getTime() ?? Infinity) < untouchedSinceMs)
    yield* Effect.forEach(dead, ({ Key, UploadId }) =>
      ifThere(asking("abort an upload", (abortSignal) =>
        client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }), { abortSignal }))))
    return dead.length
  })

  /** Marks that ended by themselves, and touches whose blob is gone. Neither says anything any more. */
  const sweepNotes = Effect.fnUntraced(function*(untouchedSinceMs: number) {
    let swept = 0
    const endedMs = Math.min(untouchedSinceMs, (yield* Clock.currentTimeMillis) - 2 * markMs)
    const discarded = Effect.fnUntraced(function*({ Key = "" }: _Object) {
      yield* discard(Key)
      swept++
    })
    yield* Stream.runForEach(listed("removing/"), (mark) => modifiedAtMs(mark) < endedMs ? discarded(mark) : Effect.void)
    yield* Stream.runForEach(listed("touched/"), Effect.fnUntraced(function*(touch) {
      if (modifiedAtMs(touch) >= endedMs) return
      if (Option.isNone(yield* ageOf((touch.Key ?? "").replace("touched/", "blobs/")))) yield* discarded(touch)
    }))
    return swept
  })

  return {
    put: (bytes, expected) => spooled({ folder: spool, bytes, expected, use: store }),
    head,
    read,
    list: listed("blobs/").pipe(Stream.flatMap((object) => Stream.fromIterable(heldOf(object)))),
    remove,
    sweep: Effect.fnUntraced(function*(untouchedSinceMs) {
      return (yield* sweepUploads(untouchedSinceMs)) + (yield* sweepNotes(untouchedSinceMs)) +
        (yield* sweepSpool(spool, untouchedSinceMs))
    })
  }
})

/** Reads exactly these bytes of a file. They are few: one part. */
const readPart = async (file: fs.FileHandle, at: number, sizeBytes: number) => {
  const part = Buffer.allocUnsafe(sizeBytes)
  for (let filled = 0; filled < sizeBytes;) {
    const { bytesRead } = await file.read(part, filled, sizeBytes - filled, at + filled)
    if (bytesRead === 0) throw new Error("the spool file is shorter than what was written to it")
    filled += bytesRead
  }
  return part
}
