import { Result, Schema } from "effect"
import { append, dropFront, emptyRope, peek, type Rope } from "./rope.ts"

/**
 * One direction of one channel, as pure values: the `Sender` on the writing side, the `Receiver` on the
 * reading side. The scheme is QUIC's (RFC 9000, sections 2.2 and 4): every byte has an absolute offset,
 * the receiver says an absolute limit, and the sender never goes above it. As in TCP (RFC 9293, 3.4),
 * the end of a channel takes one offset of its own, so having read the end is an ordinary position.
 *
 * Laws, for every interleaving of writes, reads, lost links and returns:
 * - what is read is, offset for offset, what was written, apart from gaps that are told with their size;
 * - a sender holds at most `windowBytes`, a receiver at most the window it granted;
 * - a sender that waits (never `writeNewest`) makes no gap.
 */
export interface Sender {
  /** Bytes kept for sending, or for sending again: those from `keptFrom` to `written`. */
  readonly kept: Rope
  readonly keptFrom: number
  /** The offset that the next written byte will have. */
  readonly written: number
  /** The next offset to send on the present link. */
  readonly sent: number
  /** The highest offset ever sent: no answer of the peer may lie above it. */
  readonly sentMost: number
  /** The peer's application has taken everything below. */
  readonly read: number
  /** The peer takes bytes below this offset. */
  readonly limit: number
  /** No further byte will be written. Its mark takes the offset `written - 1`. */
  readonly ended: boolean
}

/** A piece as the reader gets it. `Gap` counts the bytes that are gone: `to - from`. */
export type Piece =
  | { readonly _tag: "Bytes"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly _tag: "Gap"; readonly from: number; readonly to: number }
  | { readonly _tag: "End"; readonly at: number }

export interface Receiver {
  /** What has arrived and is not read. */
  readonly waiting: ReadonlyArray<{ readonly _tag: "Bytes"; readonly offset: number; readonly rope: Rope } | Exclude<Piece, { _tag: "Bytes" }>>
  /** Bytes in `waiting`. */
  readonly waitingBytes: number
  readonly windowBytes: number
  /** The first offset that has not arrived. */
  readonly next: number
  /** The first offset that is not read. */
  readonly read: number
  /** The limit as last told to the peer. */
  readonly told: number
  readonly ended: boolean
}

/** The peer broke the order of a channel. The link ends; the session does not, and may be resumed. */
export class Violation extends Schema.TaggedError<Violation>()("Violation", { reason: Schema.String }) {
  override get message() {
    return `The other end broke the flow of a channel: ${this.reason}. The link is ended; open it again from the last offset read.`
  }
}

const broken = (reason: string) => Result.fail(new Violation({ reason }))

/** A sender whose first byte will have the offset `from`. It may send nothing before it is given credit. */
export const senderFrom = (from: number): Sender => ({
  kept: emptyRope, keptFrom: from, written: from, sent: from, sentMost: from, read: from, limit: from, ended: false
})

/** How many bytes may be written now without dropping any. */
export const room = (sender: Sender, windowBytes: number): number =>
  sender.ended ? 0 : Math.max(0, windowBytes - sender.kept.length)

/** Adds as many of `bytes` as there is room for. What was not taken is to be offered again later. */
export const write = (sender: Sender, bytes: Uint8Array, windowBytes: number): { readonly sender: Sender; readonly taken: number } => {
  const taken = Math.min(bytes.byteLength, room(sender, windowBytes))
  if (taken === 0) return { sender, taken }
  return { sender: { ...sender, kept: append(sender.kept, bytes.subarray(0, taken)), written: sender.written + taken }, taken }
}

/** Adds all of `bytes`, and forgets the oldest kept ones for it. The reader is told how many it missed. */
export const writeNewest = (sender: Sender, bytes: Uint8Array, windowBytes: number): Sender => {
  if (sender.ended) return sender
  const newest = bytes.subarray(Math.max(0, bytes.byteLength - windowBytes))
  const stay = Math.min(sender.kept.length, windowBytes - newest.byteLength)
  const kept = append(dropFront(sender.kept, sender.kept.length - stay), newest)
  const written = sender.written + bytes.byteLength
  return { ...sender, kept, keptFrom: written - kept.length, written }
}

/** Leaves out everything before `offset`, which the writer no longer has: the reader is told the gap. */
export const skipTo = (sender: Sender, offset: number): Sender =>
  sender.ended || offset <= sender.written ? sender : { ...sender, kept: emptyRope, keptFrom: offset, written: offset }

/** Says that no byte follows. Saying it twice changes nothing. */
export const finish = (sender: Sender): Sender => sender.ended ? sender : { ...sender, ended: true, written: sender.written + 1 }

/** The peer's application has read everything, the end included. */
export const drained = (sender: Sender): boolean => sender.ended && sender.read === sender.written

/** The next thing to send, if the peer's limit allows one, and the sender after it. */
export const takeNext = (sender: Sender, bytesMax: number): { readonly sender: Sender; readonly piece: Piece } | undefined => {
  const { sent, keptFrom } = sender
  // A gap waits for credit like bytes do: a reader that stands still is told one gap, not a thousand.
  if (sent < keptFrom) return sent < sender.limit ? sentUpTo(sender, keptFrom, { _tag: "Gap", from: sent, to: keptFrom }) : undefined
  const keptTo = keptFrom + sender.kept.length
  if (sent < keptTo) {
    const bytes = peek(sender.kept, sent - keptFrom, Math.min(bytesMax, sender.limit - sent))
    return bytes.byteLength === 0 ? undefined : sentUpTo(sender, sent + bytes.byteLength, { _tag: "Bytes", offset: sent, bytes })
  }
  if (sender.ended && sent === keptTo && sent < sender.written) return sentUpTo(sender, sent + 1, { _tag: "End", at: sent })
  return undefined
}

/** The peer has read up to `read` and takes bytes below `limit`. Older news changes nothing. */
export const credited = (sender: Sender, read: number, limit: number): Result.Result<Sender, Violation> => {
  if (read > sender.sentMost) return broken(`it read up to ${read}, but only ${sender.sentMost} were sent`)
  const readNow = Math.max(sender.read, read)
  const keptFrom = Math.min(Math.max(sender.keptFrom, readNow), sender.keptFrom + sender.kept.length)
  return Result.succeed({
    ...sender,
    read: readNow,
    limit: Math.max(sender.limit, limit),
    kept: dropFront(sender.kept, keptFrom - sender.keptFrom),
    keptFrom
  })
}

/** A new link: the peer goes on at `next`. What it is missing is sent again, or told as a gap. */
export const rewound = (
  sender: Sender,
  at: { readonly next: number; readonly read: number; readonly limit: number }
): Result.Result<Sender, Violation> => {
  if (at.next > sender.sentMost) return broken(`it goes on at ${at.next}, but only ${sender.sentMost} were sent`)
  // A peer that forgot what it had confirmed goes on below `keptFrom`, and so is told a true gap.
  return Result.map(credited(sender, at.read, at.limit), (credit) => ({ ...credit, sent: at.next, limit: at.limit }))
}

// Gaps cost no bytes of the window but do cost memory. An honest sender stays far below this.
const waitingPiecesMax = 1024

/** A receiver that expects `from` first and lets `windowBytes` wait unread. */
export const receiverFrom = (from: number, windowBytes: number): Receiver => ({
  waiting: [], waitingBytes: 0, windowBytes, next: from, read: from, told: from + windowBytes, ended: false
})

/** Takes what arrived. What is here already is ignored; a hole that no gap explains is a violation. */
export const arrived = (receiver: Receiver, piece: Piece): Result.Result<Receiver, Violation> => {
  const from = piece._tag === "Bytes" ? piece.offset : piece._tag === "Gap" ? piece.from : piece.at
  const to = piece._tag === "Bytes" ? piece.offset + piece.bytes.byteLength : piece._tag === "Gap" ? piece.to : piece.at + 1
  if (to <= receiver.next) return Result.succeed(receiver)
  if (receiver.ended) return broken(`a piece up to ${to} came after the end at ${receiver.next - 1}`)
  if (from > receiver.next) return broken(`${receiver.next} was due, ${from} came, and no gap was told`)
  if (receiver.waiting.length >= waitingPiecesMax) return broken(`more than ${waitingPiecesMax} pieces wait to be read`)
  switch (piece._tag) {
    case "Bytes":
      return to > receiver.told
        ? broken(`bytes up to ${to} came, the limit was ${receiver.told}`)
        : Result.succeed(withBytes(receiver, piece.bytes.subarray(receiver.next - from), to))
    case "Gap":
      return receiver.next >= receiver.told
        ? broken(`a gap from ${receiver.next} came, the limit was ${receiver.told}`)
        : Result.succeed({ ...receiver, waiting: [...receiver.waiting, { _tag: "Gap", from: receiver.next, to }], next: to })
    case "End":
      return Result.succeed({ ...receiver, waiting: [...receiver.waiting, piece], next: to, ended: true })
  }
}

/** The next piece for the application, of at most `bytesMax` bytes, and the receiver after it. */
export const readNext = (receiver: Receiver, bytesMax: number): { readonly receiver: Receiver; readonly piece: Piece } | undefined => {
  const [first, ...others] = receiver.waiting
  if (first === undefined) return undefined
  if (first._tag !== "Bytes") {
    const read = first._tag === "Gap" ? first.to : first.at + 1
    return { receiver: { ...receiver, waiting: others, read }, piece: first }
  }
  const bytes = peek(first.rope, 0, bytesMax)
  const left = dropFront(first.rope, bytes.byteLength)
  const read = first.offset + bytes.byteLength
  const waiting = left.length === 0 ? others : [{ _tag: "Bytes" as const, offset: read, rope: left }, ...others]
  return {
    receiver: { ...receiver, waiting, read, waitingBytes: receiver.waitingBytes - bytes.byteLength },
    piece: { _tag: "Bytes", offset: first.offset, bytes }
  }
}

/** The limit that the present window allows. */
export const limitOf = (receiver: Receiver): number => receiver.read + receiver.windowBytes

/**
 * News for the peer worth a frame: a quarter of the window was read since it last heard, or the end was
 * read. Saying each byte would cost more frames than it frees.
 */
export const creditDue = (receiver: Receiver): boolean => {
  const fresh = limitOf(receiver) - receiver.told
  return fresh > 0 && (fresh * 4 >= receiver.windowBytes || (receiver.ended && receiver.read === receiver.next))
}

/** The receiver after its present limit was told to the peer. */
export const creditTold = (receiver: Receiver): Receiver => ({ ...receiver, told: Math.max(receiver.told, limitOf(receiver)) })

const sentUpTo = (sender: Sender, sent: number, piece: Piece) => ({
  sender: { ...sender, sent, sentMost: Math.max(sender.sentMost, sent) },
  piece
})

const withBytes = (receiver: Receiver, bytes: Uint8Array, next: number): Receiver => {
  const last = receiver.waiting.at(-1)
  const before = last?._tag === "Bytes" ? receiver.waiting.slice(0, -1) : receiver.waiting
  const grown = last?._tag === "Bytes" ? last : { _tag: "Bytes" as const, offset: receiver.next, rope: emptyRope }
  return {
    ...receiver,
    waiting: [...before, { ...grown, rope: append(grown.rope, bytes) }],
    waitingBytes: receiver.waitingBytes + bytes.byteLength,
    next
  }
}
