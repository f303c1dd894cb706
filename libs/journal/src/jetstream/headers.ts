import type { Msg, MsgHdrs } from "@nats-io/transport-node"
import type { Message } from "../codec.ts"

/**
 * A message's headers as the bytes that travel, in the form of
 * https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub. Written by hand: the client's own
 * header class checks and canonicalises each name and costs several times as much.
 */
export const headerBytes = (message: Message, extra: string): Uint8Array => {
  let text = "NATS/1.0\r\n"
  for (const [name, value] of message.headers) {
    if (value.includes("\n") || value.includes("\r")) throw new Error(`the header ${name} holds a line break: nothing like it may enter the log`)
    text += `${name}: ${value}\r\n`
  }
  return Buffer.from(`${text}${extra}\r\n`, "utf8")
}

/** Bytes of headers where the client wants an object: it asks it for nothing but `encode`. */
export const asHeaders = (bytes: Uint8Array): MsgHdrs => ({ encode: () => bytes }) as unknown as MsgHdrs

/** Looks a header up in the text of a header block. The first one of a name counts; absent is empty. */
export const headerIn = (block: string) => (name: string): string => {
  const key = `\r\n${name}:`
  const at = block.indexOf(key)
  if (at < 0) return ""
  const from = at + key.length
  const end = block.indexOf("\r\n", from)
  return block.slice(block.charCodeAt(from) === 32 ? from + 1 : from, end < 0 ? block.length : end)
}

interface Received {
  readonly _msg?: { readonly hdr: number }
  readonly _rdata?: Uint8Array
}

/**
 * The header block of a received message as text, without parsing it into a map: a reader looks up a
 * dozen names and forgets the rest. Reads the client's own fields, which its type keeps private; the
 * version is pinned, and where the fields are missing the public way is taken.
 */
export const headerBlock = (message: Msg): string => {
  const { _msg, _rdata } = message as unknown as Received
  if (_msg !== undefined && _rdata !== undefined) return _msg.hdr > 0 ? text(_rdata, _msg.hdr) : ""
  let block = "NATS/1.0"
  for (const [name, values] of message.headers ?? []) block += `\r\n${name}: ${values[0] ?? ""}`
  return `${block}\r\n\r\n`
}

const text = (bytes: Uint8Array, end: number): string => Buffer.from(bytes.buffer, bytes.byteOffset, end).toString("utf8")

/** The status code of a message that the server itself wrote, such as 503; 0 for all others. */
export const statusIn = (block: string): number =>
  block.startsWith("NATS/1.0 ") ? Number.parseInt(block.slice(9, 12), 10) || 0 : 0
