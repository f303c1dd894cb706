import { assert, describe, it } from "@effect/vitest"
import { contentBytes, heard, type Sent, sent } from "./gang-frames.ts"
import { addressOfRank, hardwareInWords, hardwareOfRank, namesOf, rankAt, torchEnv } from "./gang-network.ts"

const self = { rank: 1, members: 3 }
const bytesOf = (address: string): ReadonlyArray<number> => address.split(".").map(Number)

/** An IPv4 packet of 20 bytes of header and one of content. */
const packet = (from: string, to: string, first = 0x45): Uint8Array =>
  Uint8Array.of(first, 0, 0, 21, 0, 0, 0, 0, 64, 17, 0, 0, ...bytesOf(from), ...bytesOf(to), 7)
const frame = (content: Uint8Array, type = 0x0800): Uint8Array =>
  Uint8Array.of(...hardwareOfRank(0), ...hardwareOfRank(self.rank), type >> 8, type & 255, ...content)
const question = (whose: string, operation = 1): Uint8Array =>
  frame(Uint8Array.of(0, 1, 8, 0, 6, 4, 0, operation, ...hardwareOfRank(self.rank), ...bytesOf(addressOfRank(self.rank)), 0, 0, 0, 0, 0, 0, ...bytesOf(whose)), 0x0806)

describe("what a member of a gang may send", () => {
  it("is IPv4 from itself to another member", () => {
    const own = packet("10.77.0.2", "10.77.0.3")
    assert.deepStrictEqual(sent(frame(own), self), { to: 2, packet: own })
  })

  for (const [what, bytes] of [
    ["to itself", frame(packet("10.77.0.2", "10.77.0.2"))],
    ["to nobody of the gang", frame(packet("10.77.0.2", "10.77.0.4"))],
    ["to all", frame(packet("10.77.0.2", "10.77.255.255"))],
    ["to the metadata of a cloud", frame(packet("10.77.0.2", "169.254.169.254"))],
    ["to loopback", frame(packet("10.77.0.2", "127.0.0.1"))],
    ["in another one's name", frame(packet("10.77.0.3", "10.77.0.1"))],
    ["of another version of IP", frame(packet("10.77.0.2", "10.77.0.3", 0x65))],
    ["of another protocol", frame(packet("10.77.0.2", "10.77.0.3"), 0x86dd)],
    ["cut short", frame(packet("10.77.0.2", "10.77.0.3").subarray(0, 12))],
    ["that is no frame", new Uint8Array(5)],
    ["that asks for nobody of the gang", question("10.77.0.9")],
    ["that asks for itself", question("10.77.0.2")],
    ["that answers what nobody asked", question("10.77.0.3", 2)],
    ["a question cut short", question("10.77.0.3").subarray(0, 30)]
  ] as const) it(`is nothing ${what}`, () => assert.isUndefined(sent(bytes, self)))

  it("the hardware address of a member is told at once, and nobody else is asked", () => {
    const answer = (sent(question("10.77.0.3"), self) as Extract<Sent, { answer: unknown }>).answer
    assert.deepStrictEqual([...answer], [
      ...hardwareOfRank(1), ...hardwareOfRank(2), 8, 6,
      0, 1, 8, 0, 6, 4, 0, 2, ...hardwareOfRank(2), 10, 77, 0, 3, ...hardwareOfRank(1), 10, 77, 0, 2
    ])
  })
})

describe("what a member of a gang hears", () => {
  it("is what another one sent to it in its own name", () => {
    const theirs = packet("10.77.0.3", "10.77.0.2")
    assert.deepStrictEqual(heard(theirs, 2, self), Uint8Array.of(...hardwareOfRank(1), ...hardwareOfRank(2), 8, 0, ...theirs))
  })

  for (const [what, bytes, from] of [
    ["for another one", packet("10.77.0.3", "10.77.0.1"), 2],
    ["in the name of a third", packet("10.77.0.1", "10.77.0.2"), 2],
    ["of one that is not in the gang", packet("10.77.0.4", "10.77.0.2"), 3],
    ["of itself", packet("10.77.0.2", "10.77.0.2"), 1],
    ["cut short", packet("10.77.0.3", "10.77.0.2").subarray(0, 19), 2]
  ] as const) it(`is nothing ${what}`, () => assert.isUndefined(heard(bytes, from, self)))
})

describe("what members say to each other", () => {
  /** An IPv4 packet of TCP with so many bytes of content, after 20 bytes of header and `options` more. */
  const tcp = (content: number, options = 0): Uint8Array => {
    const bytes = Uint8Array.of(...packet("10.77.0.2", "10.77.0.3").subarray(0, 20), ...new Uint8Array(20 + options + content))
    bytes[3] = bytes.length
    bytes[9] = 6
    bytes[32] = ((20 + options) / 4) << 4
    return bytes
  }

  it("is what their programs do, and not what keeps a connection", () => {
    assert.strictEqual(contentBytes(packet("10.77.0.2", "10.77.0.3")), 1)
    assert.deepStrictEqual([tcp(7), tcp(7, 12), tcp(0), tcp(0, 12)].map(contentBytes), [7, 7, 0, 0])
    assert.strictEqual(contentBytes(Uint8Array.of(...tcp(0), 0, 0, 0, 0, 0, 0)), 0, "what only fills the frame up")
  })

  it("is in every part of a packet that was cut in parts, and in none that was cut short", () => {
    const part = tcp(7)
    part[7] = 1
    assert.strictEqual(contentBytes(part), 27)
    assert.deepStrictEqual([20, 30].map((bytes) => contentBytes(tcp(7).subarray(0, bytes))), [0, 10])
  })
})

describe("the members' addresses", () => {
  it("follow from their ranks, in gangs of every size", () => {
    const ranks = Array.from({ length: 600 }, (_, rank) => rank)
    assert.deepStrictEqual(ranks.map((rank) => rankAt(Uint8Array.from(bytesOf(addressOfRank(rank))), 0)), ranks)
    assert.deepStrictEqual([0, 255, 256].map(addressOfRank), ["10.77.0.1", "10.77.1.0", "10.77.1.1"])
    assert.strictEqual(hardwareInWords(0), "02:4d:0a:4d:00:01")
  })

  it("stand in the names of all, and rank 0 is where torch meets", () => {
    assert.strictEqual(namesOf({ rank: 1, members: 2 }), "10.77.0.1 rank-0\n10.77.0.2 rank-1\n")
    assert.deepStrictEqual(torchEnv({ rank: 1, members: 2 }), { MASTER_ADDR: "10.77.0.1", MASTER_PORT: "29500", RANK: "1", WORLD_SIZE: "2" })
  })
})
