import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto"

/**
 * How packets of a gang travel: what is sealed goes from host to host, what is plain between members of one host.
 *
 *     kind 1 | network 8 | to 2 | from 2 | packet                                plain
 *     kind 1 | network 8 | to 2 | from 2 | session 16 | count 8 | sealed | tag 16
 *     kind 1 | network 8 | to 2 | from 2 | padding                               asked, answered
 *
 * A member asks whether another one's host can be reached at all, and with how much at once; that host's switch answers
 * whoever asks, with less than it was asked with.
 * Sealed is AES-256-GCM over the packet, and over all that stands before it. Each sender has a session of its own,
 * and for it a key that nobody uses twice; the count is the nonce (NIST SP 800-38D, section 8.2.1).
 */
export type Kind = "plain" | "sealed" | "asked" | "answered" | "asked wide" | "answered wide"

const kinds: Readonly<Record<Kind, number>> = { plain: 1, sealed: 2, asked: 3, answered: 4, "asked wide": 5, "answered wide": 6 }
const kindNamed = new Map(Object.entries(kinds).map(([kind, number]) => [number, kind as Kind]))
const headBytes = 13
const sessionBytes = 16
const sealedHeadBytes = headBytes + sessionBytes + 8
const tagBytes = 16

/** What a switch needs to know of a datagram, and all that it can. */
export interface Head {
  readonly kind: Kind
  /** Which network, in hexadecimal digits. */
  readonly network: string
  readonly to: number
  readonly from: number
}

/** What stands before a datagram's content. Undefined: it is none. */
export const headOf = (datagram: Buffer): Head | undefined => {
  const kind = kindNamed.get(datagram[0] ?? 0)
  if (kind === undefined || datagram.length < (kind === "sealed" ? sealedHeadBytes + tagBytes : headBytes)) return undefined
  return { kind, network: datagram.toString("hex", 1, 9), to: datagram.readUInt16BE(9), from: datagram.readUInt16BE(11) }
}

/** The name that a network has on the wire, of 16 hexadecimal digits. It tells nothing of the gang, and cannot be guessed without its key. */
export const networkNamed = (key: Uint8Array): string => derived(key, "", "network name", 8).toString("hex")

const derived = (key: Uint8Array, salt: Uint8Array | string, purpose: string, bytes: number): Buffer =>
  Buffer.from(hkdfSync("sha256", key, salt, `millrace gang ${purpose}`, bytes))

const writeHead = (into: Buffer, { from, kind, network, to }: Head): void => {
  into[0] = kinds[kind]
  into.write(network, 1, "hex")
  into.writeUInt16BE(to, 9)
  into.writeUInt16BE(from, 11)
}

/** A packet as it goes to a member of the same host. */
export const plainDatagram = (head: Omit<Head, "kind">, packet: Uint8Array): Buffer => {
  const datagram = Buffer.allocUnsafe(headBytes + packet.length)
  writeHead(datagram, { ...head, kind: "plain" })
  datagram.set(packet, headBytes)
  return datagram
}

/** The question whether a member's host can be reached by a sealed packet of so many bytes. */
export const question = (head: Omit<Head, "kind">, kind: "asked" | "asked wide", packetBytes: number): Buffer => {
  const datagram = Buffer.alloc(sealedHeadBytes + packetBytes + tagBytes)
  writeHead(datagram, { ...head, kind })
  return datagram
}

/** What that is answered. Undefined: it is no question. */
export const answerTo = ({ kind, ...head }: Head): Buffer | undefined => {
  if (kind !== "asked" && kind !== "asked wide") return undefined
  const datagram = Buffer.allocUnsafe(headBytes)
  writeHead(datagram, { ...head, kind: kind === "asked" ? "answered" : "answered wide" })
  return datagram
}

/** The packet of a plain datagram. */
export const plainPacket = (datagram: Buffer): Buffer => datagram.subarray(headBytes)

/** A sender's session: since when, and 8 random bytes, so that one that begins again never uses a key twice. */
export const sessionOf = (sinceMs: number, random: Uint8Array): Buffer => {
  const session = Buffer.alloc(sessionBytes)
  session.writeBigUInt64BE(BigInt(sinceMs), 0)
  session.set(random.subarray(0, 8), 8)
  return session
}

/** Seals what one member sends to others on other hosts. */
export class Sealer {
  readonly #key: Buffer
  readonly #session: Buffer
  #count = 0n

  constructor(key: Uint8Array, session: Buffer) {
    this.#key = derived(key, session, "session", 32)
    this.#session = session
  }

  seal(head: Omit<Head, "kind">, packet: Uint8Array): Buffer {
    const datagram = Buffer.allocUnsafe(sealedHeadBytes + packet.length + tagBytes)
    writeHead(datagram, { ...head, kind: "sealed" })
    datagram.set(this.#session, headBytes)
    datagram.writeBigUInt64BE(this.#count, headBytes + sessionBytes)
    this.#count += 1n
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonceIn(datagram))
    cipher.setAAD(datagram.subarray(0, sealedHeadBytes))
    datagram.set(cipher.update(packet), sealedHeadBytes)
    cipher.final()
    datagram.set(cipher.getAuthTag(), sealedHeadBytes + packet.length)
    return datagram
  }
}

const nonceIn = (datagram: Buffer): Buffer => {
  const nonce = Buffer.alloc(12)
  datagram.copy(nonce, 4, headBytes + sessionBytes, sealedHeadBytes)
  return nonce
}

interface Session {
  readonly name: Buffer
  readonly key: Buffer
  readonly seen: Seen
}

/**
 * Opens what others sealed for one member. Of each sender it hears the newest session alone, and each datagram of it
 * once. One that forgot all, as after a new start, can be told an old session of somebody until that one speaks again.
 */
export class Opener {
  readonly #key: Uint8Array
  readonly #sessions = new Map<number, Session>()

  constructor(key: Uint8Array) {
    this.#key = key
  }

  /** The packet. Undefined: it was not sealed with this key, was changed, or was heard before. */
  open(datagram: Buffer, { from }: Pick<Head, "from">): Buffer | undefined {
    const name = datagram.subarray(headBytes, headBytes + sessionBytes)
    const known = this.#sessions.get(from)
    const isKnown = known?.name.equals(name) === true
    if (known !== undefined && !isKnown && name.compare(known.name) < 0) return undefined
    const session = isKnown ? known : { name: Buffer.from(name), key: derived(this.#key, name, "session", 32), seen: new Seen() }
    const count = datagram.readBigUInt64BE(headBytes + sessionBytes)
    if (session.seen.has(count)) return undefined
    const packet = opened(session.key, datagram)
    if (packet === undefined) return undefined
    session.seen.add(count)
    if (!isKnown) this.#sessions.set(from, session)
    return packet
  }
}

const opened = (key: Buffer, datagram: Buffer): Buffer | undefined => {
  const end = datagram.length - tagBytes
  const decipher = createDecipheriv("aes-256-gcm", key, nonceIn(datagram), { authTagLength: tagBytes })
  decipher.setAAD(datagram.subarray(0, sealedHeadBytes))
  decipher.setAuthTag(datagram.subarray(end))
  try {
    const packet = decipher.update(datagram.subarray(sealedHeadBytes, end))
    decipher.final()
    return packet
  } catch {
    return undefined
  }
}

const window = 1024n

/** Which counts were heard, as far back as a network may put them out of order; what is older counts as heard. */
class Seen {
  #highest = -1n
  readonly #recent = new Set<bigint>()

  has(count: bigint): boolean {
    return count <= this.#highest - window || this.#recent.has(count)
  }

  add(count: bigint): void {
    this.#recent.add(count)
    if (count <= this.#highest) return
    // Each count that falls out of the window does so once.
    const from = this.#highest - window
    const to = count - window
    this.#highest = count
    if (to - from > window) {
      for (const old of this.#recent) if (old <= to) this.#recent.delete(old)
    } else for (let old = from; old <= to; old += 1n) this.#recent.delete(old)
  }
}
