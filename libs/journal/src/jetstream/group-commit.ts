import { randomBytes } from "node:crypto"
import type { Answer, Publisher } from "./publisher.ts"

/** So many appends are sent one by one before the next ones gather, and so few are not worth a batch. */
const aloneMax = 64
/** Members of one batch; the server takes at most 1,000. */
const membersMax = 512
/** Bytes of one batch: the server lays it aside whole before it stores it. */
const bytesMax = 4 * 1024 * 1024

interface Member {
  readonly subject: string
  readonly headers: Uint8Array
  readonly body: Uint8Array
  readonly answered: (answer: Answer) => void
}

/**
 * Stores appends of one stream that gather while others are under way together, as an atomic batch: nats-server syncs
 * the disk once for a batch and once for every other message, so the disk is what many appends wait for. Each has its
 * own expectation and its own answer, as if it stood alone: a batch is stored whole, in its order, or not at all, and
 * one that is refused is sent again one by one, so that each hears what is said of itself. While few are under way
 * nothing gathers and nothing waits.
 */
export class GroupCommit {
  /** How many batches were sent. */
  groups = 0
  readonly #publisher: Publisher
  readonly #waiting: Array<Member> = []
  #alone = 0
  #batched = false

  constructor(publisher: Publisher) {
    this.#publisher = publisher
  }

  /** `answered` is called exactly once. The headers end with an empty line, and say nothing of a batch. */
  send(subject: string, headers: Uint8Array, body: Uint8Array, answered: (answer: Answer) => void): void {
    this.#waiting.push({ subject, headers, body, answered })
    this.#go()
  }

  #go(): void {
    while (!this.#batched && this.#waiting.length > 0) {
      if (this.#waiting.length >= aloneMax) this.#together(this.#waiting.splice(0, this.#fitting()))
      else if (this.#alone < aloneMax) this.#one(this.#waiting.shift()!)
      else return
    }
  }

  /** How many of those that wait go into one batch. */
  #fitting(): number {
    let bytes = 0
    for (let count = 0; count < Math.min(membersMax, this.#waiting.length); count += 1) {
      const { body, headers } = this.#waiting[count]!
      bytes += headers.length + body.length
      if (bytes > bytesMax) return Math.max(1, count)
    }
    return Math.min(membersMax, this.#waiting.length)
  }

  #one({ answered, body, headers, subject }: Member): void {
    this.#alone += 1
    this.#publisher.send(subject, headers, body, (answer) => {
      this.#alone -= 1
      answered(answer)
      this.#go()
    })
  }

  #together(members: ReadonlyArray<Member>): void {
    this.#batched = true
    this.groups += 1
    const batch = randomBytes(12).toString("base64url")
    const headersOf = ({ headers }: Member, at: number) =>
      withLines(headers, `Nats-Batch-Id: ${batch}\r\nNats-Batch-Sequence: ${at + 1}\r\n${at === members.length - 1 ? "Nats-Batch-Commit: 1\r\n" : ""}`)
    for (const [at, member] of members.entries()) {
      const { body, subject } = member
      if (at < members.length - 1) this.#publisher.sendUnanswered(subject, headersOf(member, at), body)
      else this.#publisher.send(subject, headersOf(member, at), body, (answer) => this.#answered(members, answer))
    }
  }

  #answered(members: ReadonlyArray<Member>, answer: Answer): void {
    this.#batched = false
    switch (answer._tag) {
      case "Stored":
        // The answer names the place of the last; the others lie directly before it.
        for (const [at, { answered }] of members.entries()) answered({ ...answer, sequence: answer.sequence - (members.length - 1 - at) })
        break
      case "Unknown":
        for (const { answered } of members) answered(answer)
        break
      case "Behind":
      case "Refused":
        for (const member of members) this.#one(member)
    }
    this.#go()
  }
}

/** Headers with more lines before the empty one that ends them. */
const withLines = (headers: Uint8Array, lines: string): Uint8Array =>
  Buffer.concat([headers.subarray(0, headers.length - 2), Buffer.from(`${lines}\r\n`, "utf8")])
