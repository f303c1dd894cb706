import { Result } from "effect"
import { channelKinds, kindOf } from "./channel-name.ts"
import * as Flow from "./flow.ts"
import { channelsMax, dataBytesMax, type ChannelFrame, type Frame, type Position, type Statement } from "./frame.ts"
import { count, type Meter } from "./meter.ts"
import { emptyRope } from "./rope.ts"
import { Turns } from "./turns.ts"
import { wakeAll } from "./waiting.ts"

/** How many bytes one end keeps for one channel. */
export interface Windows {
  /** Kept for sending again: what a lost link may cost without a gap. Bytes. */
  readonly keptBytes: number
  /** Arrived and not yet read. Bytes. */
  readonly waitingBytes: number
}

/** Why something is over. `done` is a good end; every other code is named where it is decided. */
export interface Ending {
  readonly code: string
  readonly message: string
}

/**
 * One channel at one end: a sender, a receiver, and those who wait for either to move. `wake` is called
 * after anything changed that a waiting reader or writer could care about.
 */
export interface Track {
  readonly id: number
  readonly name: string
  /** The offset at which the client asked the host's bytes to begin. */
  readonly startOffset: number
  readonly dropsOldest: boolean
  sender: Flow.Sender
  receiver: Flow.Receiver
  over: Ending | undefined
  readonly wakers: Set<() => void>
}

/**
 * What one end knows of a session's channels. No I/O and no clock: frames go in by `hear`, come out by
 * `take`, and survive any number of links in between. Both ends run this same code.
 */
export class Exchange {
  readonly tracks = new Map<number, Track>()
  /** Bytes of payload that this end ever wrote or heard, for the warrant's `bytesMax`. */
  bytesMoved = 0
  /** The highest channel id seen; ids are never used twice in a session. */
  idMost = -1
  /** Called after anything moved: there may be something to send, or somebody's wait may be over. */
  moved: () => void = () => {}
  private readonly turns = new Turns<number>()
  private readonly notices: Array<Frame> = []
  private readonly overs = new Map<number, Ending>()
  private readonly unread = new Set<Track>()
  private readonly side: "client" | "host"
  private readonly windows: Windows
  private readonly meter: Meter

  constructor(side: "client" | "host", windows: Windows, meter: Meter) {
    this.side = side
    this.windows = windows
    this.meter = meter
  }

  /** A new channel. Its name must have a known kind: who may open it was asked before. */
  open(id: number, name: string, startOffset: number): Track {
    const kind = channelKinds[kindOf(name) ?? "control"]
    const sends = this.side === "client" ? kind.toHost : kind.toClient
    const hears = this.side === "client" ? kind.toClient : kind.toHost
    const from = { sent: this.side === "host" ? startOffset : 0, heard: this.side === "client" ? startOffset : 0 }
    const track: Track = {
      id, name, startOffset, dropsOldest: kind.dropsOldest, over: undefined, wakers: new Set(),
      sender: sends ? Flow.senderFrom(from.sent) : nothingToSend(from.sent),
      receiver: hears ? Flow.receiverFrom(from.heard, this.windows.waitingBytes) : nothingToHear(from.heard)
    }
    this.tracks.set(id, track)
    this.idMost = Math.max(this.idMost, id)
    return track
  }

  /** Whether one more channel may be opened now. */
  get hasRoom(): boolean {
    return this.tracks.size < channelsMax && this.idMost < 0xffff
  }

  /** Where this end stands, as the other must know it when a link begins. */
  statements(): ReadonlyArray<Statement> {
    return [...this.tracks.values()].map((track) => this.statementOf(track))
  }

  /** Where this end stands in one channel. Must be told: the limit in it counts as said. */
  statementOf(track: Track): Statement {
    track.receiver = Flow.creditTold(track.receiver)
    return { ...positionOf(track), name: track.name }
  }

  /** The client came back and names its channels: those it no longer has are over here too. */
  keepOnly(ids: ReadonlySet<number>): void {
    for (const track of [...this.tracks.values()]) {
      const complete = track.sender.ended && track.sender.sentMost === track.sender.written
      if (!ids.has(track.id)) this.end(track, complete ? ended : abandoned)
    }
  }

  /** A link begins: goes back to where the other end stands. What was said for an older link is void. */
  resume(positions: ReadonlyArray<Position>): Result.Result<void, Flow.Violation> {
    this.notices.length = 0
    for (const position of positions) {
      const track = this.tracks.get(position.id)
      const begun = track && this.begin(track, position)
      if (begun !== undefined && Result.isFailure(begun)) return begun
    }
    return Result.succeed(undefined)
  }

  /** One channel goes on, or begins, where the other end stands in it. */
  begin(track: Track, position: Position): Result.Result<void, Flow.Violation> {
    return Result.map(Flow.rewound(track.sender, position), (sender) => this.move(track, { sender }))
  }

  /** Takes a frame of the other end. A channel that is over already is none of its business any more. */
  hear(frame: ChannelFrame): Result.Result<void, Flow.Violation> {
    const track = this.tracks.get(frame.channel)
    if (track === undefined) {
      return frame.channel <= this.idMost
        ? Result.succeed(undefined)
        : Result.fail(new Flow.Violation({ reason: `channel ${frame.channel} was never opened` }))
    }
    switch (frame._tag) {
      case "Credit":
        return Result.map(Flow.credited(track.sender, frame.read, frame.limit), (sender) => this.move(track, { sender }))
      case "Data":
        return this.arrive(track, { _tag: "Bytes", offset: frame.offset, bytes: frame.bytes })
      case "Gap":
        return this.arrive(track, { _tag: "Gap", from: frame.from, to: frame.to })
      case "End":
        return this.arrive(track, { _tag: "End", at: frame.at })
      case "ChannelOver":
        return Result.succeed(this.end(track, { code: frame.code, message: frame.message }))
    }
  }

  /**
   * The next frame for the other end, or `undefined` if there is none for now. News of reading goes
   * first, then the channels in turn, at most 16 KiB each.
   */
  take(link: number): Frame | undefined {
    const notice = this.notices.shift()
    if (notice !== undefined) return { ...notice, link }
    for (let id = this.turns.next(); id !== undefined; id = this.turns.next()) {
      const track = this.tracks.get(id)
      const frame = track && this.takeFrom(track, link)
      if (frame === undefined) continue
      this.turns.want(id)
      return frame
    }
    return undefined
  }

  /** Says something about the session to the other end ahead of any channel. Lost with the link. */
  notify(frame: Frame): void {
    this.notices.push(frame)
    this.moved()
  }

  /** Says to the other end how far it may write in a channel that it has opened on this link. */
  grant(track: Track): void {
    const { id, read, limit } = this.statementOf(track)
    this.notify({ _tag: "Credit", link: 0, channel: id, read, limit })
  }

  /** Opens no channel `id`, now or later, and says why. */
  refuseChannel(id: number, ending: Ending): void {
    this.idMost = Math.max(this.idMost, id)
    this.remember(id, ending)
    this.notify({ _tag: "ChannelOver", link: 0, channel: id, ...ending })
  }

  /** How a channel that is gone ended; `done` for those that went the ordinary way, long ago or never. */
  endingOf(id: number): Ending {
    return this.overs.get(id) ?? ended
  }

  /** Writes what there is room for and says how much that was; a channel that drops takes everything. */
  write(track: Track, bytes: Uint8Array): number {
    const max = this.windows.keptBytes
    const { sender, taken } = track.dropsOldest
      ? { sender: Flow.writeNewest(track.sender, bytes, max), taken: bytes.byteLength }
      : Flow.write(track.sender, bytes, max)
    if (taken > 0) {
      this.bytesMoved += taken
      this.move(track, { sender })
    }
    return taken
  }

  /** How many bytes a write would take now. */
  roomFor(track: Track): number {
    return Flow.room(track.sender, this.windows.keptBytes)
  }

  /** The next piece that has arrived. */
  read(track: Track): Flow.Piece | undefined {
    const got = Flow.readNext(track.receiver, dataBytesMax)
    if (got === undefined) return undefined
    this.move(track, { receiver: got.receiver })
    return got.piece
  }

  /** Ends the writing half. */
  finish(track: Track): void {
    if (!track.sender.ended) this.move(track, { sender: Flow.finish(track.sender) })
  }

  /** Leaves out the writer's bytes before `offset`, as a gap. */
  skipTo(track: Track, offset: number): void {
    this.move(track, { sender: Flow.skipTo(track.sender, offset) })
  }

  /** Everything is over: nothing more is sent, but what has arrived may still be read. */
  endAll(ending: Ending): void {
    for (const track of this.tracks.values()) this.end(track, ending)
  }

  /** One channel is over, for readers (after what has arrived) and writers. */
  end(track: Track, ending: Ending): void {
    track.over ??= ending
    this.tracks.delete(track.id)
    count(this.meter, -track.sender.kept.length)
    track.sender = { ...track.sender, kept: emptyRope, ended: true }
    if (track.receiver.waitingBytes > 0) this.unread.add(track)
    if (ending.code !== ended.code) this.remember(track.id, ending)
    wake(track)
    this.moved()
  }

  /** Forgets all bytes, read or not. For the very end of a session. */
  release(): void {
    for (const track of [...this.tracks.values(), ...this.unread]) count(this.meter, -held(track))
    this.tracks.clear()
    this.unread.clear()
  }

  private remember(id: number, ending: Ending): void {
    this.overs.set(id, ending)
    for (const oldest of this.overs.keys()) {
      if (this.overs.size <= oversMax) return
      this.overs.delete(oldest)
    }
  }

  private arrive(track: Track, piece: Flow.Piece): Result.Result<void, Flow.Violation> {
    const before = track.receiver.waitingBytes
    return Result.map(Flow.arrived(track.receiver, piece), (receiver) => {
      this.bytesMoved += receiver.waitingBytes - before
      this.move(track, { receiver })
    })
  }

  private takeFrom(track: Track, link: number): Frame | undefined {
    if (Flow.creditDue(track.receiver)) {
      track.receiver = Flow.creditTold(track.receiver)
      const { id, read, limit } = positionOf(track)
      this.settle(track)
      return { _tag: "Credit", link, channel: id, read, limit }
    }
    const taken = Flow.takeNext(track.sender, dataBytesMax)
    if (taken === undefined) return undefined
    track.sender = taken.sender
    return asFrame(link, track.id, taken.piece)
  }

  private move(track: Track, to: Partial<Pick<Track, "sender" | "receiver">>): void {
    count(this.meter, held({ ...track, ...to }) - held(track))
    Object.assign(track, to)
    if (track.over !== undefined) {
      if (track.receiver.waitingBytes === 0) this.unread.delete(track)
      return
    }
    this.turns.want(track.id)
    this.settle(track)
    wake(track)
    this.moved()
  }

  // Both halves read to the end, and the other end told so: nobody needs the channel any more.
  private settle(track: Track): void {
    if (track.over !== undefined) return
    const heardAll = track.receiver.ended && track.receiver.read === track.receiver.next && !Flow.creditDue(track.receiver)
    if (heardAll && Flow.drained(track.sender)) this.end(track, ended)
  }
}

const ended: Ending = { code: "done", message: "Both halves of the channel were read to their end." }

const abandoned: Ending = { code: "abandoned", message: "The other end came back without the channel." }

// How many ends of channels one session remembers, for a client that comes back and asks.
const oversMax = 256

const held = (track: Pick<Track, "sender" | "receiver">): number => track.sender.kept.length + track.receiver.waitingBytes

const positionOf = (track: Track): Position => ({
  id: track.id,
  next: track.receiver.next,
  read: track.receiver.read,
  limit: Math.max(track.receiver.told, track.receiver.read)
})

// A half that the kind does not have was read to its end before it began.
const nothingToSend = (from: number): Flow.Sender => ({ ...Flow.senderFrom(from), ended: true })
const nothingToHear = (from: number): Flow.Receiver => ({ ...Flow.receiverFrom(from, 0), ended: true })

const wake = (track: Track): void => wakeAll(track.wakers)

const asFrame = (link: number, channel: number, piece: Flow.Piece): ChannelFrame => {
  switch (piece._tag) {
    case "Bytes":
      return { _tag: "Data", link, channel, offset: piece.offset, bytes: piece.bytes }
    case "Gap":
      return { _tag: "Gap", link, channel, from: piece.from, to: piece.to }
    case "End":
      return { _tag: "End", link, channel, at: piece.at }
  }
}
