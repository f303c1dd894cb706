import { Result, Schema } from "effect"
import { Cursor, Writer } from "./cursor.ts"

/**
 * What is said on a `control` channel. As the channel is one of bytes, a message may arrive in parts or
 * several at once; `ControlReader` puts them together, across lost connections too.
 *
 * Each message is u16 length, then kind u8 and its fields:
 *
 * | kind | name   | said by | fields                                    |
 * |------|--------|---------|-------------------------------------------|
 * | 1    | Resize | client  | columns u16, rows u16                     |
 * | 2    | Signal | client  | name text8, as in `SIGTERM`               |
 * | 3    | Exited | host    | code u8 (0 to 255), signal text8 or empty |
 * | 4    | Ready  | host    | pid u32, 0 if it has none to tell         |
 */
export type Control =
  | { readonly _tag: "Resize"; readonly columns: number; readonly rows: number }
  | { readonly _tag: "Signal"; readonly name: string }
  | { readonly _tag: "Exited"; readonly code: number; readonly signal: string }
  | { readonly _tag: "Ready"; readonly pid: number }

/** The bytes are no control message. The channel cannot be read on. */
export class ControlMalformed extends Schema.TaggedError<ControlMalformed>()("ControlMalformed", { reason: Schema.String }) {
  override get message() {
    return `Not a control message: ${this.reason}. Abandon the channel; see that both ends run the same release.`
  }
}

const messageBytesMax = 300

/** One message as bytes, length included, ready to be written to a control channel. */
export const encodeControl = (message: Control): Uint8Array => {
  const body = bodyOf(message).bytes()
  return new Writer().u16(body.byteLength).raw(body).bytes()
}

/** Collects the bytes of a control channel and gives back the messages that are whole. */
export class ControlReader {
  private held: Uint8Array = new Uint8Array(0)

  /** The messages that `bytes` completes, in order. Holds at most one message of 300 bytes meanwhile. */
  push(bytes: Uint8Array): Result.Result<ReadonlyArray<Control>, ControlMalformed> {
    let left: Uint8Array = Buffer.concat([this.held, bytes])
    const messages: Array<Control> = []
    while (left.byteLength >= 2) {
      const length = new Cursor(left).u16()
      if (length > messageBytesMax) return Result.fail(new ControlMalformed({ reason: `${length} bytes are above ${messageBytesMax}` }))
      if (left.byteLength < 2 + length) break
      const message = decodeBody(left.subarray(2, 2 + length))
      if (Result.isFailure(message)) return Result.fail(message.failure)
      messages.push(message.success)
      left = left.subarray(2 + length)
    }
    this.held = left
    return Result.succeed(messages)
  }
}

const bodyOf = (message: Control): Writer => {
  switch (message._tag) {
    case "Resize":
      return new Writer().u8(1).u16(message.columns).u16(message.rows)
    case "Signal":
      return new Writer().u8(2).text8(message.name)
    case "Exited":
      return new Writer().u8(3).u8(message.code).text8(message.signal)
    case "Ready":
      return new Writer().u8(4).u32(message.pid)
  }
}

const decodeBody = (bytes: Uint8Array): Result.Result<Control, ControlMalformed> => {
  const cursor = new Cursor(bytes)
  const message = fieldsOf(cursor, cursor.u8())
  cursor.finish()
  if (message !== undefined && cursor.wrong === undefined) return Result.succeed(message)
  return Result.fail(new ControlMalformed({ reason: cursor.wrong ?? `kind ${bytes[0]} is unknown` }))
}

const fieldsOf = (cursor: Cursor, kind: number): Control | undefined => {
  switch (kind) {
    case 1:
      return { _tag: "Resize", columns: cursor.u16(), rows: cursor.u16() }
    case 2:
      return { _tag: "Signal", name: cursor.text8() }
    case 3:
      return { _tag: "Exited", code: cursor.u8(), signal: cursor.text8() }
    case 4:
      return { _tag: "Ready", pid: cursor.u32() }
    default:
      return undefined
  }
}
