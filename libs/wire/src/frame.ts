import { Result, Schema } from "effect"
import { Cursor, Writer } from "./cursor.ts"

/**
 * The frames of the wire. One WebSocket message (binary) is one frame; numbers are big-endian and
 * unsigned; a text or list carries its length before it (`text8`: one byte, `text16`: two bytes).
 *
 * Every frame begins with a header of 6 bytes: version u8 (1), kind u8, link u32. A link is one
 * attachment of one client to one session. The relay numbers links per uplink and never says a number
 * twice on it; on a client's own connection the link is 0.
 *
 * | kind | name        | from -> to               | fields after the header                                 |
 * |------|-------------|--------------------------|---------------------------------------------------------|
 * | 1    | Hello       | host -> relay -> client  | boot 16 bytes: random, drawn once per start of the host |
 * | 2    | Open        | client -> host           | ordinal u32, session text8, host text8, warrant (u16 length), proof 64 bytes, channels: list of {id u16, name text8, next, read, limit u64} |
 * | 3    | Accepted    | host -> client           | channels: list of {id u16, next, read, limit u64}       |
 * | 4    | Close       | both                     | code text8, message text16: the session is over, or was refused |
 * | 5    | Detach      | relay <-> host           | nothing: this link is over, the session waits           |
 * | 6    | Data        | both                     | channel u16, offset u64, bytes (1 to 16,384)            |
 * | 7    | Gap         | both                     | channel u16, from u64, to u64: these bytes are gone     |
 * | 8    | End         | both                     | channel u16, at u64: no byte follows; takes one offset  |
 * | 9    | Credit      | both                     | channel u16, read u64 (consumed below), limit u64 (may send below) |
 * | 10   | OpenChannel | client -> host           | one {id, name, next, read, limit} as in Open            |
 * | 11   | ChannelOver | both                     | channel u16, code text8, message text16                 |
 * | 12   | Ping        | both ends of a line      | nonce u32                                               |
 * | 13   | Pong        | both ends of a line      | nonce u32, the one of the Ping                          |
 *
 * Positions are absolute offsets in one direction of a channel, so saying any of them twice does no
 * harm: `next` is the first byte the speaker has not got, `read` the first its application has not
 * taken, `limit` the first the other side may not send yet. Offsets stay below 2^53.
 *
 * A frame that does not decode (`FrameMalformed`), or that this side may not send, closes the
 * connection it came on with WebSocket code 4000; a message above 64 KiB closes it with 1009. Frames
 * that decode but break the order of a channel (`Violation` in flow.ts) end that link alone.
 */
export type Frame =
  | { readonly _tag: "Hello"; readonly link: number; readonly boot: Uint8Array }
  | Open
  | { readonly _tag: "Accepted"; readonly link: number; readonly channels: ReadonlyArray<Position> }
  | { readonly _tag: "Close"; readonly link: number; readonly code: string; readonly message: string }
  | { readonly _tag: "Detach"; readonly link: number }
  | ChannelFrame
  | { readonly _tag: "OpenChannel"; readonly link: number; readonly channel: Statement }
  | { readonly _tag: "Ping"; readonly link: number; readonly nonce: number }
  | { readonly _tag: "Pong"; readonly link: number; readonly nonce: number }

/** A client's wish to open a session (ordinal 0) or to come back to it (each time a higher ordinal). */
export interface Open {
  readonly _tag: "Open"
  readonly link: number
  readonly ordinal: number
  readonly session: string
  readonly host: string
  readonly warrant: Uint8Array
  readonly proof: Uint8Array
  readonly channels: ReadonlyArray<Statement>
}

/** The frames that move one channel forward. */
export type ChannelFrame =
  | { readonly _tag: "Data"; readonly link: number; readonly channel: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly _tag: "Gap"; readonly link: number; readonly channel: number; readonly from: number; readonly to: number }
  | { readonly _tag: "End"; readonly link: number; readonly channel: number; readonly at: number }
  | { readonly _tag: "Credit"; readonly link: number; readonly channel: number; readonly read: number; readonly limit: number }
  | { readonly _tag: "ChannelOver"; readonly link: number; readonly channel: number; readonly code: string; readonly message: string }

/** How far the speaker has come in what it receives on one channel. All three are offsets in bytes. */
export interface Position {
  readonly id: number
  readonly next: number
  readonly read: number
  readonly limit: number
}

/** A position together with the channel's name, as the client says it when it opens or comes back. */
export interface Statement extends Position {
  readonly name: string
}

/** The version this code speaks, in the first byte of each frame. */
export const frameVersion = 1
/** The most bytes of one frame, header included. The WebSocket is told not to take more. */
export const frameBytesMax = 64 * 1024
/** The most bytes of payload in one Data frame: small, so that no session holds an uplink for long. */
export const dataBytesMax = 16 * 1024
/** The most channels one session may have open at a time. */
export const channelsMax = 32
/** The most bytes of a warrant. */
export const warrantBytesMax = 4 * 1024

/** The bytes are not a frame of this version. The connection they came on is to be closed with 4000. */
export class FrameMalformed extends Schema.TaggedError<FrameMalformed>()("FrameMalformed", {
  reason: Schema.String
}) {
  override get message() {
    return `Not a frame of wire version ${frameVersion}: ${this.reason}. The connection is closed; see that both ends run the same release.`
  }
}

const kinds = {
  Hello: 1, Open: 2, Accepted: 3, Close: 4, Detach: 5, Data: 6, Gap: 7, End: 8, Credit: 9,
  OpenChannel: 10, ChannelOver: 11, Ping: 12, Pong: 13
} as const

/** The frame as bytes. A frame that breaks its own limits is a bug of the caller, and throws. */
export const encodeFrame = (frame: Frame): Uint8Array => {
  const out = new Writer().u8(frameVersion).u8(kinds[frame._tag]).u32(frame.link)
  writeFields(out, frame)
  const bytes = out.bytes()
  if (bytes.byteLength > frameBytesMax) throw new RangeError(`a ${frame._tag} of ${bytes.byteLength} bytes is above ${frameBytesMax}`)
  return bytes
}

/** The frame in `bytes`. Byte fields are views into them: copy what is to be kept. */
export const decodeFrame = (bytes: Uint8Array): Result.Result<Frame, FrameMalformed> => {
  if (bytes.byteLength > frameBytesMax) return malformed(`${bytes.byteLength} bytes are above ${frameBytesMax}`)
  const cursor = new Cursor(bytes)
  const version = cursor.u8()
  if (version !== frameVersion) return malformed(`its version is ${version}`)
  const kind = cursor.u8()
  const frame = readFields(cursor, kind, cursor.u32())
  if (frame === undefined) return malformed(`kind ${kind} is unknown`)
  cursor.finish()
  return cursor.wrong === undefined ? Result.succeed(frame) : malformed(`kind ${kind}: ${cursor.wrong}`)
}

/**
 * Writes another link number into an encoded frame, in place: what a relay does as it hands a frame on.
 * The bytes must have passed `decodeFrame`.
 */
export const relabel = (bytes: Uint8Array, link: number): void =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).setUint32(2, link)

const malformed = (reason: string) => Result.fail(new FrameMalformed({ reason }))

const writeFields = (out: Writer, frame: Frame): void => {
  switch (frame._tag) {
    case "Hello":
      out.raw(frame.boot)
      return
    case "Open":
      out.u32(frame.ordinal).text8(frame.session).text8(frame.host)
      out.u16(frame.warrant.byteLength).raw(frame.warrant).raw(frame.proof)
      out.list(frame.channels, (channel) => writeStatement(out, channel))
      return
    case "Accepted":
      out.list(frame.channels, (channel) => out.u16(channel.id).u64(channel.next).u64(channel.read).u64(channel.limit))
      return
    case "Close":
      out.text8(frame.code).text16(frame.message)
      return
    case "Detach":
      return
    case "Data":
      out.u16(frame.channel).u64(frame.offset).raw(frame.bytes)
      return
    case "Gap":
      out.u16(frame.channel).u64(frame.from).u64(frame.to)
      return
    case "End":
      out.u16(frame.channel).u64(frame.at)
      return
    case "Credit":
      out.u16(frame.channel).u64(frame.read).u64(frame.limit)
      return
    case "OpenChannel":
      writeStatement(out, frame.channel)
      return
    case "ChannelOver":
      out.u16(frame.channel).text8(frame.code).text16(frame.message)
      return
    case "Ping":
    case "Pong":
      out.u32(frame.nonce)
      return
  }
}

const readFields = (cursor: Cursor, kind: number, link: number): Frame | undefined => {
  switch (kind) {
    case kinds.Hello:
      return { _tag: "Hello", link, boot: cursor.raw(16) }
    case kinds.Open:
      return readOpen(cursor, link)
    case kinds.Accepted:
      return { _tag: "Accepted", link, channels: cursor.list(channelsMax, () => readPosition(cursor)) }
    case kinds.Close:
      return { _tag: "Close", link, code: cursor.text8(), message: cursor.text16() }
    case kinds.Detach:
      return { _tag: "Detach", link }
    case kinds.Data:
      return readData(cursor, link)
    case kinds.Gap:
      return readGap(cursor, link)
    case kinds.End:
      return { _tag: "End", link, channel: cursor.u16(), at: cursor.u64() }
    case kinds.Credit:
      return readCredit(cursor, link)
    case kinds.OpenChannel:
      return { _tag: "OpenChannel", link, channel: readStatement(cursor) }
    case kinds.ChannelOver:
      return { _tag: "ChannelOver", link, channel: cursor.u16(), code: cursor.text8(), message: cursor.text16() }
    case kinds.Ping:
      return { _tag: "Ping", link, nonce: cursor.u32() }
    case kinds.Pong:
      return { _tag: "Pong", link, nonce: cursor.u32() }
    default:
      return undefined
  }
}

const readOpen = (cursor: Cursor, link: number): Open => {
  const ordinal = cursor.u32()
  const session = cursor.text8()
  const host = cursor.text8()
  const warrantBytes = cursor.u16()
  if (warrantBytes > warrantBytesMax) cursor.refuse(`a warrant of ${warrantBytes} bytes is above ${warrantBytesMax}`)
  const warrant = cursor.raw(warrantBytes)
  const proof = cursor.raw(64)
  const channels = cursor.list(channelsMax, () => readStatement(cursor))
  if (new Set(channels.map((channel) => channel.id)).size < channels.length) cursor.refuse("a channel id stands twice")
  return { _tag: "Open", link, ordinal, session, host, warrant, proof, channels }
}

const readData = (cursor: Cursor, link: number): Frame => {
  const channel = cursor.u16()
  const offset = cursor.u64()
  const bytes = cursor.rest()
  if (bytes.byteLength === 0) cursor.refuse("it carries no byte")
  if (bytes.byteLength > dataBytesMax) cursor.refuse(`${bytes.byteLength} bytes of data are above ${dataBytesMax}`)
  if (offset + bytes.byteLength > Number.MAX_SAFE_INTEGER) cursor.refuse("it runs beyond offset 2^53 - 1")
  return { _tag: "Data", link, channel, offset, bytes }
}

const readGap = (cursor: Cursor, link: number): Frame => {
  const channel = cursor.u16()
  const from = cursor.u64()
  const to = cursor.u64()
  if (to <= from) cursor.refuse(`a gap from ${from} to ${to} has no size`)
  return { _tag: "Gap", link, channel, from, to }
}

const readCredit = (cursor: Cursor, link: number): Frame => {
  const channel = cursor.u16()
  const read = cursor.u64()
  const limit = cursor.u64()
  if (limit < read) cursor.refuse(`a limit of ${limit} lies below ${read}, which is read already`)
  return { _tag: "Credit", link, channel, read, limit }
}

const writeStatement = (out: Writer, channel: Statement): void => {
  out.u16(channel.id).text8(channel.name).u64(channel.next).u64(channel.read).u64(channel.limit)
}

const readStatement = (cursor: Cursor): Statement => {
  const id = cursor.u16()
  const name = cursor.text8()
  return ordered(cursor, { id, name, next: cursor.u64(), read: cursor.u64(), limit: cursor.u64() })
}

const readPosition = (cursor: Cursor): Position =>
  ordered(cursor, { id: cursor.u16(), next: cursor.u64(), read: cursor.u64(), limit: cursor.u64() })

const ordered = <P extends Position>(cursor: Cursor, position: P): P => {
  if (position.read > position.next || position.read > position.limit) {
    cursor.refuse(`a position of read ${position.read}, next ${position.next}, limit ${position.limit} is out of order`)
  }
  return position
}
