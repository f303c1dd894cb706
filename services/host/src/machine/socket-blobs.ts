import { BlobMissing, type Blobs, verified } from "@millrace/blobs"
import type { Digest } from "@millrace/schemas"
import { Effect, Fiber, Stream } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { LocalCopiesShape } from "./local-copies.ts"

/** The blob that a request of a program asks for whole. */
export const wholeBlobOf = ({ method, url }: IncomingMessage): Digest | undefined => {
  const [, digest] = /^\/v1\/blobs\/(sha256:[0-9a-f]{64})$/u.exec(method === "GET" ? url ?? "" : "") ?? []
  return digest as Digest | undefined
}

/** What is sent on with the question, where the host has a copy: the cell then answers whether the program may have it, and no bytes. */
export const unlessHeld = (copies: LocalCopiesShape, digest: Digest): Readonly<Record<string, string>> =>
  copies.held().copies.blobs.has(digest) ? { "if-none-match": `"${digest}"` } : {}

/**
 * Answers with a blob that the cell lets the program have: from the host's copy, else from the cell's answer, which is
 * kept as a copy then. Bytes that are not the blob's are cut off before their end. False: the cell sent no bytes because
 * the host had a copy, and the host has it no longer.
 */
export const answerBlob = (copies: LocalCopiesShape, digest: Digest, answer: IncomingMessage, response: ServerResponse, headers: Readonly<Record<string, string>>): boolean => {
  const held = copies.held().copies.blobs.get(digest)
  const hasBytes = answer.statusCode === 200
  if (!hasBytes && held === undefined) return false
  const fromCell = {
    get: () => hasBytes ? Stream.fromAsyncIterable(answer, (cause) => cause).pipe(verified(digest)) : Stream.fail(new BlobMissing({ digest }))
  } as unknown as Blobs["Service"]
  response.writeHead(200, { ...headers, ...(held === undefined ? {} : { "content-length": String(held.sizeBytes) }) })
  const sending = Effect.runFork(copies.alongside(fromCell).get(digest).pipe(
    Stream.runForEach((chunk) => written(response, chunk)),
    Effect.andThen(Effect.sync(() => void response.end())),
    Effect.catchCause(() => Effect.sync(() => void response.destroy())),
    Effect.ensuring(Effect.sync(() => void answer.resume()))
  ))
  response.once("close", () => Effect.runFork(Fiber.interrupt(sending)))
  return true
}

/** No faster than the program reads. */
const written = (response: ServerResponse, chunk: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (response.destroyed || response.write(chunk)) return resume(Effect.void)
    response.once("drain", () => resume(Effect.void))
  })
