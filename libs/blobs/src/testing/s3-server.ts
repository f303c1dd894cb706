import { Effect, type Scope } from "effect"
import { createHash, randomUUID } from "node:crypto"
import { createReadStream, createWriteStream } from "node:fs"
import * as fs from "node:fs/promises"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { crc32 } from "node:zlib"
import { isSigned } from "./signature-v4.ts"

/**
 * What the server is told to do wrong, once: break off after having done it, answer `503 SlowDown`, or
 * announce an answer and then send none of its bytes.
 */
export type S3Fault = "lose_answer" | "slow_down" | "stall"

export type S3Operation =
  | "PutObject" | "GetObject" | "HeadObject" | "DeleteObject" | "ListObjectsV2" | "ListMultipartUploads"
  | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" | "AbortMultipartUpload"

interface Stored {
  readonly path: string
  readonly sizeBytes: number
  readonly etag: string
  readonly modifiedAtMs: number
}

interface Upload {
  readonly key: string
  readonly parts: Map<number, Stored>
  readonly initiatedAtMs: number
}

/** A failure in the words of S3. */
class Refusal extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string) {
    super(code)
    this.status = status
    this.code = code
  }
}

const credentials = { accessKeyId: "AKIDMILLRACE", secretAccessKey: "a secret of the tests alone" }
const bucket = "blobs"

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex")
const seconds = (ms: number) => new Date(Math.floor(ms / 1000) * 1000)
const xml = (root: string, inner: string) => `<?xml version="1.0" encoding="UTF-8"?>\n<${root}>${inner}</${root}>`

const operationOf = (method: string, key: string, query: URLSearchParams): S3Operation => {
  const upload = query.has("uploadId")
  switch (method) {
    case "PUT":
      return upload ? "UploadPart" : "PutObject"
    case "GET":
      return key !== "" ? "GetObject" : query.has("uploads") ? "ListMultipartUploads" : "ListObjectsV2"
    case "HEAD":
      return "HeadObject"
    case "DELETE":
      return upload ? "AbortMultipartUpload" : "DeleteObject"
    case "POST":
      return upload ? "CompleteMultipartUpload" : "CreateMultipartUpload"
    default:
      throw new Refusal(405, "MethodNotAllowed")
  }
}

const base64Crc32 = (bytes: Uint8Array) => {
  const sum = Buffer.alloc(4)
  sum.writeUInt32BE(crc32(bytes))
  return sum.toString("base64")
}

/** Takes `aws-chunked` apart: chunks with their length in hexadecimal, then trailing headers. */
const unchunked = (framed: Buffer): { readonly bytes: Buffer; readonly trailer: string } => {
  const parts: Array<Buffer> = []
  let at = 0
  for (;;) {
    const end = framed.indexOf("\r\n", at)
    const sizeBytes = Number.parseInt(framed.toString("latin1", at, end), 16)
    if (end < 0 || Number.isNaN(sizeBytes)) throw new Refusal(400, "IncompleteBody")
    if (sizeBytes === 0) return { bytes: Buffer.concat(parts), trailer: framed.toString("latin1", end + 2) }
    parts.push(framed.subarray(end + 2, end + 2 + sizeBytes))
    at = end + 2 + sizeBytes + 2
  }
}

const checksumIn = (headers: IncomingMessage["headers"], trailer: string) =>
  headers["x-amz-checksum-crc32"] ?? /x-amz-checksum-crc32: ?([A-Za-z0-9+/=]+)/u.exec(trailer)?.[1]

/** The body, if it is what the signature and the checksum say it is. */
const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const sent = Buffer.concat(chunks)
  const promised = String(request.headers["x-amz-content-sha256"])
  const framed = promised.startsWith("STREAMING-")
  if (!framed && promised !== "UNSIGNED-PAYLOAD" && promised !== createHash("sha256").update(sent).digest("hex")) {
    throw new Refusal(400, "XAmzContentSHA256Mismatch")
  }
  const { bytes, trailer } = framed ? unchunked(sent) : { bytes: sent, trailer: "" }
  const checksum = checksumIn(request.headers, trailer)
  if (checksum !== undefined && checksum !== base64Crc32(bytes)) throw new Refusal(400, "BadDigest")
  return bytes
}

/**
 * A small S3: one bucket in a temporary folder, path style, over HTTP on 127.0.0.1. It demands a valid
 * Signature V4 and checks payload hashes and CRC-32, so what passes here was sent as S3 wants it.
 */
export class S3Server {
  readonly #folder: string
  readonly #objects = new Map<string, Stored>()
  readonly #uploads = new Map<string, Upload>()
  readonly #faults: Array<readonly [S3Operation, S3Fault]> = []
  readonly #holds: Array<readonly [S3Operation, string, () => Promise<void>]> = []
  /** Every operation that was answered or lost, in order. */
  readonly log: Array<S3Operation> = []
  /** Bytes of objects given to the network so far. */
  sentBytes = 0
  /** Most bytes of bodies that were being received at one moment. */
  receivingBytesMax = 0
  /** Whether the checksum of the last body came with the request, the client's default. */
  lastChecksum: string | undefined
  endpoint = ""

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Runs until the scope closes; its folder goes with it. */
  static readonly start: Effect.Effect<S3Server, never, Scope.Scope> = Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.promise(() => fs.mkdtemp(join(tmpdir(), "millrace-s3-"))),
      (folder) => Effect.promise(() => fs.rm(folder, { recursive: true, force: true }))
    )
    const s3 = new S3Server(folder)
    yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const server = createServer((request, response) => void s3.#serve(request, response))
        await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
        s3.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
        return server
      }),
      (server) => Effect.promise(async () => {
        server.closeAllConnections()
        await new Promise((closed) => server.close(closed))
      })
    )
    return s3
  })

  /** What a client needs to know. */
  get access() {
    return { ...credentials, bucket, region: "eu-central-1", endpoint: this.endpoint }
  }

  get keys(): ReadonlyArray<string> {
    return [...this.#objects.keys()].sort()
  }

  get uploadsOpen(): number {
    return this.#uploads.size
  }

  /** The next operation of this kind goes wrong in this way. */
  failNext(operation: S3Operation, fault: S3Fault): void {
    this.#faults.push([operation, fault])
  }

  /** The next operation of this kind on this key is carried out only when `until` is over. */
  holdNext(operation: S3Operation, key: string, until: () => Promise<void>): void {
    this.#holds.push([operation, key, until])
  }

  /** Flips one bit of the byte in the middle of an object. */
  async corrupt(key: string): Promise<void> {
    const { path, sizeBytes } = this.#object(key)
    const bytes = await fs.readFile(path)
    const at = Math.floor(sizeBytes / 2)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    await fs.writeFile(path, bytes)
  }

  #object(key: string): Stored {
    const object = this.#objects.get(key)
    if (object === undefined) throw new Refusal(404, "NoSuchKey")
    return object
  }

  #upload(query: URLSearchParams): Upload {
    const upload = this.#uploads.get(query.get("uploadId") ?? "")
    if (upload === undefined) throw new Refusal(404, "NoSuchUpload")
    return upload
  }

  #faultOf(operation: S3Operation): S3Fault | undefined {
    const at = this.#faults.findIndex(([kind]) => kind === operation)
    return at < 0 ? undefined : this.#faults.splice(at, 1)[0]?.[1]
  }

  async #store(bytes: Uint8Array): Promise<Stored> {
    const path = join(this.#folder, randomUUID())
    await fs.writeFile(path, bytes)
    return { path, sizeBytes: bytes.byteLength, etag: md5(bytes), modifiedAtMs: Date.now() }
  }

  async #serve(request: IncomingMessage, response: ServerResponse) {
    try {
      const [path = "", search = ""] = (request.url ?? "").split("?", 2)
      const [, inBucket, ...rest] = path.split("/").map(decodeURIComponent)
      const query = new URLSearchParams(search)
      const key = rest.join("/")
      const operation = operationOf(request.method ?? "", key, query)
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))
      const body = await bodyOf(request)
      const secretOf = (id: string) => id === credentials.accessKeyId ? credentials.secretAccessKey : undefined
      if (!isSigned({ method: request.method ?? "", target: request.url ?? "", headers }, secretOf)) {
        throw new Refusal(403, "SignatureDoesNotMatch")
      }
      if (inBucket !== bucket) throw new Refusal(404, "NoSuchBucket")
      this.receivingBytesMax = Math.max(this.receivingBytesMax, body.byteLength)
      if (operation === "PutObject") this.lastChecksum = headers["x-amz-checksum-crc32"] ?? headers["x-amz-trailer"]
      this.log.push(operation)
      const fault = this.#faultOf(operation)
      if (fault === "slow_down") throw new Refusal(503, "SlowDown")
      const held = this.#holds.findIndex(([kind, onKey]) => kind === operation && onKey === key)
      if (held >= 0) await this.#holds.splice(held, 1)[0]?.[2]()
      const answer = await this.#carryOut(operation, { key, query, body, range: request.headers.range })
      if (fault === "lose_answer") return void request.socket.destroy()
      if (fault === "stall") return void response.writeHead(200, { "content-length": 1_000 }).flushHeaders()
      await answer(response)
    } catch (cause) {
      this.#refuse(response, cause instanceof Refusal ? cause : new Refusal(500, "InternalError"))
    }
  }

  #refuse(response: ServerResponse, { status, code }: Refusal) {
    if (response.headersSent) return void response.destroy()
    response.writeHead(status, { "content-type": "application/xml" })
    response.end(xml("Error", `<Code>${code}</Code><Message>${code}</Message>`))
  }

  async #carryOut(
    operation: S3Operation,
    { key, query, body, range }: { key: string; query: URLSearchParams; body: Buffer; range: string | undefined }
  ): Promise<(response: ServerResponse) => unknown> {
    const say = (text: string, headers: Record<string, string> = {}) => (response: ServerResponse) =>
      response.writeHead(200, { "content-type": "application/xml", ...headers }).end(text)
    switch (operation) {
      case "PutObject": {
        const object = await this.#store(body)
        this.#objects.set(key, object)
        return say("", { etag: `"${object.etag}"` })
      }
      case "HeadObject":
      case "GetObject":
        return this.#send(this.#object(key), operation, range)
      case "DeleteObject":
        this.#objects.delete(key)
        return (response) => response.writeHead(204).end()
      case "ListObjectsV2":
        return say(this.#list(query))
      case "ListMultipartUploads":
        return say(xml("ListMultipartUploadsResult", [...this.#uploads].map(([id, { key, initiatedAtMs }]) =>
          `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${seconds(initiatedAtMs).toISOString()}</Initiated></Upload>`
        ).join("")))
      case "CreateMultipartUpload": {
        const id = randomUUID()
        this.#uploads.set(id, { key, parts: new Map(), initiatedAtMs: Date.now() })
        return say(xml("InitiateMultipartUploadResult", `<Bucket>${bucket}</Bucket><Key>${key}</Key><UploadId>${id}</UploadId>`))
      }
      case "UploadPart": {
        const part = await this.#store(body)
        this.#upload(query).parts.set(Number(query.get("partNumber")), part)
        return say("", { etag: `"${part.etag}"`, "x-amz-checksum-crc32": base64Crc32(body) })
      }
      case "CompleteMultipartUpload":
        return say(await this.#complete(query, body.toString()))
      case "AbortMultipartUpload":
        this.#upload(query)
        this.#uploads.delete(query.get("uploadId") ?? "")
        return (response) => response.writeHead(204).end()
    }
  }

  async #complete(query: URLSearchParams, wanted: string): Promise<string> {
    const { key, parts } = this.#upload(query)
    const numbers = [...wanted.matchAll(/<PartNumber>([0-9]+)<\/PartNumber>/gu)].map(([, number]) => Number(number))
    const path = join(this.#folder, randomUUID())
    let sizeBytes = 0
    for (const number of numbers) {
      const part = parts.get(number)
      if (part === undefined) throw new Refusal(400, "InvalidPart")
      if (part.sizeBytes < 5 * 1024 * 1024 && number !== numbers.at(-1)) throw new Refusal(400, "EntityTooSmall")
      await pipeline(createReadStream(part.path), createWriteStream(path, { flags: "a" }))
      sizeBytes += part.sizeBytes
    }
    this.#objects.set(key, { path, sizeBytes, etag: `${randomUUID()}-${numbers.length}`, modifiedAtMs: Date.now() })
    this.#uploads.delete(query.get("uploadId") ?? "")
    return xml("CompleteMultipartUploadResult", `<Bucket>${bucket}</Bucket><Key>${key}</Key>`)
  }

  #list(query: URLSearchParams): string {
    const prefix = query.get("prefix") ?? ""
    const after = query.get("continuation-token") ?? ""
    // Small pages, so that every reader has to turn them.
    const keys = this.keys.filter((key) => key.startsWith(prefix) && key > after)
    const page = keys.slice(0, 3)
    const contents = page.map((key) => {
      const { sizeBytes, modifiedAtMs, etag } = this.#object(key)
      return `<Contents><Key>${key}</Key><Size>${sizeBytes}</Size><ETag>"${etag}"</ETag>` +
        `<LastModified>${seconds(modifiedAtMs).toISOString()}</LastModified></Contents>`
    })
    const more = keys.length > page.length
    return xml("ListBucketResult", `<Name>${bucket}</Name><IsTruncated>${more}</IsTruncated>` +
      (more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : "") + contents.join(""))
  }

  #send({ path, sizeBytes, etag, modifiedAtMs }: Stored, operation: S3Operation, range: string | undefined) {
    const [, first = "0", last = ""] = /^bytes=([0-9]+)-([0-9]*)$/u.exec(range ?? "") ?? []
    const start = Number(first)
    const end = Math.min(last === "" ? Infinity : Number(last), sizeBytes - 1)
    if (range !== undefined && start >= sizeBytes) throw new Refusal(416, "InvalidRange")
    return async (response: ServerResponse) => {
      response.writeHead(range === undefined ? 200 : 206, {
        "content-length": end - start + 1,
        "last-modified": seconds(modifiedAtMs).toUTCString(),
        etag: `"${etag}"`,
        ...(range !== undefined && { "content-range": `bytes ${start}-${end}/${sizeBytes}` })
      })
      if (operation === "HeadObject" || sizeBytes === 0) return response.end()
      const counted = async function*(this: S3Server, source: AsyncIterable<Buffer>) {
        for await (const chunk of source) {
          this.sentBytes += chunk.byteLength
          yield chunk
        }
      }.bind(this)
      await pipeline(createReadStream(path, { start, end }), counted, response).catch(() => response.destroy())
    }
  }
}
