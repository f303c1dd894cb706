import { assert, describe, it } from "@effect/vitest"
import { Allowance } from "./allowance.ts"
import { headOf, networkNamed, Opener, plainDatagram, plainPacket, Sealer, sessionOf } from "./datagram.ts"
import { framed, words } from "./switch-words.ts"

const key = Buffer.alloc(32, 1)
const network = networkNamed(key)
const head = { network, to: 1, from: 0 }
const session = (sinceMs: number) => sessionOf(sinceMs, Buffer.alloc(8, 9))
const sealer = (sinceMs = 5) => new Sealer(key, session(sinceMs))
const packet = (text: string) => Buffer.from(text)
const opened = (opener: Opener, datagram: Buffer) => opener.open(datagram, headOf(datagram)!)?.toString()

describe("a sealed datagram", () => {
  it("opens once, for whoever holds the key", () => {
    const datagram = sealer().seal(head, packet("hello"))
    assert.deepStrictEqual(headOf(datagram), { ...head, kind: "sealed" })
    assert.isFalse(datagram.includes("hello"))
    const opener = new Opener(key)
    assert.deepStrictEqual([opened(opener, datagram), opened(opener, datagram)], ["hello", undefined])
    assert.isUndefined(opened(new Opener(Buffer.alloc(32, 2)), datagram))
  })

  it("opens no longer when a bit of it is another, wherever that stands", () => {
    const datagram = sealer().seal(head, packet("hello"))
    for (let at = 0; at < datagram.length; at += 1) {
      const changed = Buffer.from(datagram)
      changed[at]! ^= 1
      const read = headOf(changed)
      assert.isUndefined(read?.kind !== "sealed" ? undefined : new Opener(key).open(changed, read), `byte ${at}`)
    }
    for (let bytes = 0; bytes < datagram.length; bytes += 1) {
      const cut = datagram.subarray(0, bytes)
      assert.isUndefined(headOf(cut) === undefined ? undefined : opened(new Opener(key), cut))
    }
  })

  it("comes out of order, and each once", () => {
    const from = sealer()
    const all = Array.from({ length: 3_000 }, (_, number) => from.seal(head, packet(String(number))))
    const opener = new Opener(key)
    const order = [5, 0, 1_028, 3, 1_029, 5, 1_028, 4, 2_999, 1_975, 1_976, 1_976, 2_998]
    assert.deepStrictEqual(order.map((number) => opened(opener, all[number]!)), ["5", "0", "1028", undefined, "1029", undefined, undefined, undefined, "2999", undefined, "1976", undefined, "2998"])
  })

  it("of a sender that began anew is heard, and none of the time before it", () => {
    const [before, after] = [sealer(5), sealer(6)]
    const opener = new Opener(key)
    const old = before.seal(head, packet("old"))
    assert.deepStrictEqual([opened(opener, before.seal(head, packet("first"))), opened(opener, after.seal(head, packet("second"))), opened(opener, old)], ["first", "second", undefined])
  })

  it("never uses a key for two contents of one count", () => {
    const [one, other] = [sealer(5).seal(head, packet("same")), sealer(6).seal(head, packet("same"))]
    assert.isFalse(one.subarray(37).equals(other.subarray(37)))
  })
})

describe("a plain datagram", () => {
  it("is what it is, and is told from a sealed one", () => {
    const datagram = plainDatagram(head, packet("hello"))
    assert.deepStrictEqual([headOf(datagram), plainPacket(datagram).toString()], [{ ...head, kind: "plain" }, "hello"])
  })
})

describe("words on a line", () => {
  it("are told whole, however the line cuts them", () => {
    const said = ["", "a", "b".repeat(5_000), "c"]
    const bytes = Buffer.concat(said.map((word) => framed(Buffer.from(word))))
    for (const size of [1, 2, 3, 700, bytes.length]) {
      const told: Array<string> = []
      const tell = words((word) => void told.push(word.toString()))
      for (let at = 0; at < bytes.length; at += size) tell(bytes.subarray(at, at + size))
      assert.deepStrictEqual(told, said)
    }
  })
})

describe("an allowance", () => {
  it("gives no more than its rate, and after a silence no more at once than it says", () => {
    const allowance = new Allowance({ perSecond: 1_000, atOnce: 100, atMs: 0 })
    assert.deepStrictEqual(
      [[100, 0], [1, 0], [10, 9], [10, 10], [101, 100_000], [100, 100_000], [1, 100_000]].map(([bytes, atMs]) => allowance.takes(bytes!, atMs!)),
      [true, false, false, true, false, true, false]
    )
  })
})
