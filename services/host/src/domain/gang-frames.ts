import { hardwareOfRank, type Member, rankAt } from "./gang-network.ts"

/** What becomes of a frame that a member sends. */
export type Sent =
  /** An IP packet for another member. */
  | { readonly to: number; readonly packet: Uint8Array }
  /** A question for a member's hardware address: answered at once, so that nothing is ever said to all. */
  | { readonly answer: Uint8Array }

const headerBytes = 14
const ethernet = { ipv4: 0x0800, arp: 0x0806 } as const
const arpBytes = headerBytes + 28
const ipv4BytesMin = 20
const tcp = 6

const typeOf = (frame: Uint8Array): number => (frame[12]! << 8) | frame[13]!

/**
 * What a member may send: IPv4 from its own address to another member's, and the question where that one is. All else
 * goes nowhere. Sources: IEEE 802.3, RFC 826 (ARP), RFC 791 (IPv4).
 */
export const sent = (frame: Uint8Array, self: Member): Sent | undefined => {
  if (frame.length < headerBytes) return undefined
  if (typeOf(frame) === ethernet.arp) return asked(frame, self)
  if (typeOf(frame) !== ethernet.ipv4) return undefined
  const packet = frame.subarray(headerBytes)
  const to = isIpv4(packet) && rankAt(packet, 12) === self.rank ? otherIn(rankAt(packet, 16), self) : undefined
  return to === undefined ? undefined : { to, packet }
}

/** The frame in which a member hears a packet of another one, or nothing where the packet is not what that one may send to it. */
export const heard = (packet: Uint8Array, from: number, self: Member): Uint8Array | undefined => {
  if (!isIpv4(packet) || otherIn(from, self) === undefined || rankAt(packet, 12) !== from || rankAt(packet, 16) !== self.rank) return undefined
  const frame = new Uint8Array(headerBytes + packet.length)
  frame.set(hardwareOfRank(self.rank), 0)
  frame.set(hardwareOfRank(from), 6)
  frame[12] = ethernet.ipv4 >> 8
  frame[13] = ethernet.ipv4 & 255
  frame.set(packet, headerBytes)
  return frame
}

/**
 * How much programs say to each other in a packet, in bytes: nothing where TCP only acknowledges, or asks whether the
 * other one is still there. Sources: RFC 791, RFC 9293 (TCP), RFC 1122 section 4.2.3.6 (keep-alives).
 */
export const contentBytes = (packet: Uint8Array): number => {
  const before = (packet[0]! & 15) * 4
  const end = Math.min(packet.length, (packet[2]! << 8) | packet[3]!)
  const isContinued = (((packet[6]! & 31) << 8) | packet[7]!) !== 0
  const ofTcp = packet[9] === tcp && !isContinued ? ((packet[before + 12] ?? 0) >> 4) * 4 : 0
  return Math.max(0, end - before - ofTcp)
}

const isIpv4 = (packet: Uint8Array): boolean => packet.length >= ipv4BytesMin && packet[0]! >> 4 === 4

const otherIn = (rank: number | undefined, { members, rank: own }: Member): number | undefined =>
  rank === undefined || rank < 0 || rank >= members || rank === own ? undefined : rank

/** A question of ARP for IPv4 over Ethernet: who has the address of another member? */
const asked = (frame: Uint8Array, self: Member): Sent | undefined => {
  const isQuestion = frame.length >= arpBytes && frame[14] === 0 && frame[15] === 1 && frame[16] === 8 && frame[17] === 0
    && frame[18] === 6 && frame[19] === 4 && frame[20] === 0 && frame[21] === 1
  const whose = isQuestion ? otherIn(rankAt(frame, 38), self) : undefined
  if (whose === undefined) return undefined
  const answer = frame.slice(0, arpBytes)
  answer.set(frame.subarray(6, 12), 0)
  answer.set(hardwareOfRank(whose), 6)
  answer[21] = 2
  answer.set(hardwareOfRank(whose), 22)
  answer.set(frame.subarray(38, 42), 28)
  answer.set(frame.subarray(22, 32), 32)
  return { answer }
}
