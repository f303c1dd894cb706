import { timeOfId } from "@millrace/decider"
import { Context, Effect, Layer, Schema } from "effect"
import { createHash } from "node:crypto"
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Packr } from "msgpackr"
import type { StoredMessage } from "./codec.ts"
import type { Commit } from "./commit.ts"

/** One message as it lies in an archive: the bytes that lay in the stream, header block and all. */
export interface ArchivedMessage {
  readonly sequence: number
  readonly subject: string
  readonly storedAtMs: number
  /** `NATS/1.0` and the headers, as they travelled. */
  readonly headers: string
  readonly body: Uint8Array
}

/** A closed run of a stream that has left it: what it holds, and how anybody can tell that it is whole. */
export interface Segment {
  readonly stream: string
  /** First and last sequence, both in it. No sequence between them is missing. */
  readonly from: number
  readonly to: number
  /** SHA-256 of the segment's bytes, in hexadecimal: the name it goes by in a blob store. */
  readonly digest: string
  /** Root of the Merkle tree over its messages, in hexadecimal, by RFC 6962 section 2.1. */
  readonly merkleRoot: string
  readonly sizeBytes: number
}

/** What an archive handed back is not what was put into it, or a run of sequences is missing. */
export class ArchiveUnfit extends Schema.TaggedError<ArchiveUnfit>()("ArchiveUnfit", {
  stream: Schema.String,
  from: Schema.Int,
  detail: Schema.String
}) {
  override get message() {
    return `The archive of ${this.stream} from ${this.from} cannot be used: ${this.detail}. Restore the segment from another copy; its digest says which one is true`
  }
}

/**
 * The closed part of the log. A stream is its archive and the hot tail behind it, and a reader that begins
 * before the tail reads the archive first.
 */
export class Archive extends Context.Service<Archive, {
  /** The segments of a stream in order, without a gap between them. */
  readonly segments: (stream: string) => Effect.Effect<ReadonlyArray<Segment>, ArchiveUnfit>
  /** Everything in a segment, verified against its digest and its root. */
  readonly read: (segment: Segment) => Effect.Effect<ReadonlyArray<ArchivedMessage>, ArchiveUnfit>
  /** Keeps a run that begins where the archive ends. Keeping it again changes nothing. */
  readonly keep: (stream: string, messages: ReadonlyArray<ArchivedMessage>) => Effect.Effect<Segment, ArchiveUnfit>
}>()("millrace/Archive") {
  /** One file a segment in a folder, each written whole by a rename. */
  static readonly layerFolder = (folder: string): Layer.Layer<Archive> => Layer.sync(Archive, () => folderArchive(folder))
}

const packr = new Packr({ useRecords: false })

/** A segment and its bytes. The same messages always give the same bytes. */
export const closeSegment = (stream: string, messages: ReadonlyArray<ArchivedMessage>): { readonly segment: Segment; readonly bytes: Uint8Array } => {
  const rows = messages.map(({ body, headers, sequence, storedAtMs, subject }) => packr.pack([sequence, subject, storedAtMs, headers, Buffer.from(body)]))
  const bytes = packr.pack(rows)
  return {
    segment: {
      stream,
      from: messages[0]?.sequence ?? 0,
      to: messages.at(-1)?.sequence ?? 0,
      digest: createHash("sha256").update(bytes).digest("hex"),
      merkleRoot: merkleRoot(rows).toString("hex"),
      sizeBytes: bytes.length
    },
    bytes
  }
}

/** The messages of a segment's bytes, or what is wrong with them. */
export const openSegment = (segment: Segment, bytes: Uint8Array): ReadonlyArray<ArchivedMessage> | string => {
  if (createHash("sha256").update(bytes).digest("hex") !== segment.digest) return "its bytes do not have the digest it was kept under"
  const rows = packr.unpack(bytes) as ReadonlyArray<Uint8Array>
  if (merkleRoot(rows).toString("hex") !== segment.merkleRoot) return "its messages do not come to its Merkle root"
  const messages = rows.map((row): ArchivedMessage => {
    const [sequence, subject, storedAtMs, headers, body] = packr.unpack(row) as [number, string, number, string, Uint8Array]
    return { sequence, subject, storedAtMs, headers, body }
  })
  return messages.every(({ sequence }, index) => sequence === segment.from + index) && messages.at(-1)?.sequence === segment.to
    ? messages
    : "its sequences are not the run that it claims"
}

/**
 * Root of a Merkle tree by RFC 6962 section 2.1 (https://www.rfc-editor.org/rfc/rfc6962#section-2.1): a leaf
 * is SHA-256 of 0x00 and its bytes, a node SHA-256 of 0x01 and its two children; the left child holds the
 * largest power of two of the leaves that is smaller than their number.
 */
export const merkleRoot = (leaves: ReadonlyArray<Uint8Array>): Buffer => {
  if (leaves.length === 0) return createHash("sha256").digest()
  const [leaf] = leaves
  if (leaves.length === 1 && leaf !== undefined) return createHash("sha256").update(leafMark).update(leaf).digest()
  const left = 2 ** (31 - Math.clz32(leaves.length - 1))
  return createHash("sha256").update(nodeMark).update(merkleRoot(leaves.slice(0, left))).update(merkleRoot(leaves.slice(left))).digest()
}

const leafMark = Buffer.of(0)
const nodeMark = Buffer.of(1)

const folderArchive = (folder: string): Archive["Service"] => {
  const segments = (stream: string) =>
    Effect.gen(function*() {
      const files = yield* Effect.promise(() => readdir(folder).catch(() => []))
      const named = files.filter((file) => file.startsWith(`${stream}-`) && file.endsWith(".json"))
      const found = yield* Effect.forEach(named, (file) =>
        Effect.promise(() => readFile(join(folder, file), "utf8").then((text) => JSON.parse(text) as Segment)))
      const ordered = found.sort((left, right) => left.from - right.from)
      const gap = ordered.findIndex(({ from }, index) => index > 0 && from !== (ordered[index - 1]?.to ?? 0) + 1)
      if (gap > 0) return yield* new ArchiveUnfit({ stream, from: (ordered[gap - 1]?.to ?? 0) + 1, detail: "a segment is missing there" })
      return ordered
    })
  const pathOf = ({ digest, stream }: Segment) => join(folder, `${stream}-${digest}.segment`)
  return {
    segments,
    read: (segment) =>
      Effect.flatMap(
        Effect.tryPromise({
          try: () => readFile(pathOf(segment)),
          catch: (cause) => new ArchiveUnfit({ stream: segment.stream, from: segment.from, detail: `its bytes cannot be read (${String(cause)})` })
        }),
        (bytes) => {
          const messages = openSegment(segment, bytes)
          return typeof messages === "string" ? Effect.fail(new ArchiveUnfit({ stream: segment.stream, from: segment.from, detail: messages })) : Effect.succeed(messages)
        }
      ),
    keep: Effect.fnUntraced(function*(stream, messages) {
      const { bytes, segment } = closeSegment(stream, messages)
      const kept = yield* segments(stream)
      if (kept.some(({ digest }) => digest === segment.digest)) return segment
      const next = (kept.at(-1)?.to ?? 0) + 1
      if (segment.from !== next) return yield* new ArchiveUnfit({ stream, from: segment.from, detail: `the archive goes on at ${next}` })
      yield* Effect.promise(async () => {
        await mkdir(folder, { recursive: true })
        await replace(pathOf(segment), bytes)
        await replace(join(folder, `${stream}-${String(segment.from).padStart(16, "0")}.json`), Buffer.from(JSON.stringify(segment)))
      })
      return segment
    })
  }
}

const replace = async (path: string, bytes: Uint8Array): Promise<void> => {
  await writeFile(`${path}.next`, bytes, { flush: true })
  await rename(`${path}.next`, path)
}

/** An archived message as a store hands it back: the one form that the codec reads. */
export const storedFrom = (stream: string, message: ArchivedMessage, header: (block: string) => StoredMessage["header"]): StoredMessage => ({
  stream,
  sequence: message.sequence,
  subject: message.subject,
  storedAtMs: message.storedAtMs,
  header: header(message.headers),
  body: message.body
})

/**
 * The first fact of a commit that is older than the horizon, in ms since 1970, by the time its id carries.
 * Behind the horizon stories have left the hot stream, so the log could not tell a repetition from news.
 */
export const beforeHorizon = (commit: Commit, horizonAtMs: number): string | undefined =>
  commit.facts.find(({ id }) => timeOfId(id) < horizonAtMs)?.id
