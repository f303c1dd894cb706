import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import * as Flow from "./flow.ts"
import { Turns } from "./turns.ts"

const byteAt = (offset: number) => (offset * 31 + (offset >> 8) * 7) & 0xff
const stretch = (from: number, length: number) => Uint8Array.from({ length }, (_, n) => byteAt(from + n))
const or = <A>(result: Result.Result<A, Flow.Violation>): A => Result.getOrThrowWith(result, (broken) => broken)

type Step =
  | { readonly _tag: "write" | "read"; readonly size: number }
  | { readonly _tag: "send" | "deliver" | "credit" | "deliverCredit" | "loseLink" | "finish" }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _tag: fc.constantFrom("write" as const, "read" as const), size: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 6, arbitrary: fc.record({ _tag: fc.constantFrom("send" as const, "deliver" as const, "credit" as const, "deliverCredit" as const) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constantFrom("loseLink" as const, "finish" as const) }) }
)

/** One channel with a network between its halves that keeps order, and may lose all that is under way. */
const channel = (windows: { readonly kept: number; readonly waiting: number }, dropsOldest: boolean) => {
  let sender = Flow.senderFrom(0)
  let receiver = Flow.receiverFrom(0, windows.waiting)
  let under: Array<Flow.Piece> = []
  let credits: Array<{ readonly read: number; readonly limit: number }> = []
  const got: Array<Flow.Piece> = []

  const link = () => {
    under = []
    credits = []
    receiver = Flow.creditTold(receiver)
    sender = or(Flow.rewound(sender, { next: receiver.next, read: receiver.read, limit: Math.max(receiver.told, receiver.read) }))
  }
  const apply = (step: Step): void => {
    switch (step._tag) {
      case "write": {
        const bytes = stretch(sender.written, step.size)
        sender = dropsOldest ? Flow.writeNewest(sender, bytes, windows.kept) : Flow.write(sender, bytes, windows.kept).sender
        break
      }
      case "send": {
        const taken = Flow.takeNext(sender, 17)
        if (taken !== undefined) under.push(taken.piece)
        sender = taken?.sender ?? sender
        break
      }
      case "deliver": {
        const piece = under.shift()
        if (piece !== undefined) receiver = or(Flow.arrived(receiver, piece))
        break
      }
      case "read": {
        const next = Flow.readNext(receiver, step.size)
        if (next !== undefined) got.push(next.piece)
        receiver = next?.receiver ?? receiver
        break
      }
      case "credit":
        if (Flow.creditDue(receiver)) {
          receiver = Flow.creditTold(receiver)
          credits.push({ read: receiver.read, limit: receiver.told })
        }
        break
      case "deliverCredit": {
        const credit = credits.shift()
        if (credit !== undefined) sender = or(Flow.credited(sender, credit.read, credit.limit))
        break
      }
      case "loseLink":
        link()
        break
      case "finish":
        sender = Flow.finish(sender)
        break
    }
    assert.isAtMost(sender.kept.length, windows.kept)
    assert.isAtMost(receiver.waitingBytes, windows.waiting)
  }
  link()
  const settled = () => Flow.drained(sender)
  return { apply, got, settled, written: () => sender.written }
}

const windows = fc.record({ kept: fc.integer({ min: 1, max: 100 }), waiting: fc.integer({ min: 1, max: 100 }) })
const calm: ReadonlyArray<Step> = [{ _tag: "send" }, { _tag: "deliver" }, { _tag: "read", size: 50 }, { _tag: "credit" }, { _tag: "deliverCredit" }]

const deliveredExactly = (windows: { readonly kept: number; readonly waiting: number }, dropsOldest: boolean, steps: ReadonlyArray<Step>) => {
  const one = channel(windows, dropsOldest)
  for (const step of [...steps, { _tag: "finish" } as const]) one.apply(step)
  for (let n = 0; !one.settled(); n++) {
    assert.isBelow(n, 20_000, "the channel came to no end")
    one.apply(calm[n % calm.length] as Step)
  }
  let next = 0
  for (const piece of one.got) {
    switch (piece._tag) {
      case "Bytes":
        assert.strictEqual(piece.offset, next)
        assert.deepStrictEqual(Uint8Array.from(piece.bytes), stretch(next, piece.bytes.byteLength))
        next += piece.bytes.byteLength
        break
      case "Gap":
        assert.isTrue(dropsOldest, "a sender that waits made a gap")
        assert.strictEqual(piece.from, next)
        next = piece.to
        break
      case "End":
        assert.strictEqual(piece.at, next)
        next += 1
    }
  }
  assert.strictEqual(next, one.written())
}

describe("one direction of a channel", () => {
  it("whatever was lost under way, a sender that waits is copied exactly", () =>
    fc.assert(fc.property(windows, fc.array(step, { maxLength: 300 }), (windows, steps) => deliveredExactly(windows, false, steps)), { numRuns: 300 }))

  it("whatever was lost under way, a sender that drops is copied exactly or its gaps are counted", () =>
    fc.assert(fc.property(windows, fc.array(step, { maxLength: 300 }), (windows, steps) => deliveredExactly(windows, true, steps)), { numRuns: 300 }))

  it("a reader that forgot what it had confirmed is told a gap as large as what is gone", () => {
    let sender = or(Flow.credited(Flow.senderFrom(0), 0, 100))
    sender = Flow.write(sender, stretch(0, 50), 100).sender
    sender = Flow.takeNext(sender, 50)?.sender ?? sender
    sender = or(Flow.credited(sender, 30, 100))
    assert.deepStrictEqual(Flow.takeNext(or(Flow.rewound(sender, { next: 10, read: 10, limit: 110 })), 50)?.piece, { _tag: "Gap", from: 10, to: 30 })
  })

  it("what comes a second time, in whole or in part, is taken once", () => {
    let receiver = Flow.receiverFrom(0, 100)
    for (const [from, to] of [[0, 10], [0, 10], [5, 20], [2, 3]] as const) {
      receiver = or(Flow.arrived(receiver, { _tag: "Bytes", offset: from, bytes: stretch(from, to - from) }))
    }
    receiver = or(Flow.arrived(receiver, { _tag: "Gap", from: 15, to: 25 }))
    const first = Flow.readNext(receiver, 100)
    assert.deepStrictEqual(first?.piece._tag === "Bytes" ? Uint8Array.from(first.piece.bytes) : undefined, stretch(0, 20))
    assert.deepStrictEqual(first && Flow.readNext(first.receiver, 100)?.piece, { _tag: "Gap", from: 20, to: 25 })
  })

  it("holes, bytes above the limit, bytes behind the end and credit for the unsent are violations", () => {
    const receiver = Flow.receiverFrom(0, 10)
    const bytes = (offset: number, length: number): Flow.Piece => ({ _tag: "Bytes", offset, bytes: stretch(offset, length) })
    const ended = or(Flow.arrived(receiver, { _tag: "End", at: 0 }))
    const refused = [
      Flow.arrived(receiver, bytes(1, 1)),
      Flow.arrived(receiver, bytes(0, 11)),
      Flow.arrived(receiver, { _tag: "Gap", from: 1, to: 2 }),
      Flow.arrived(receiver, { _tag: "End", at: 1 }),
      Flow.arrived(ended, bytes(1, 1)),
      Flow.credited(Flow.senderFrom(0), 1, 10),
      Flow.rewound(Flow.senderFrom(0), { next: 1, read: 0, limit: 10 })
    ]
    assert.deepStrictEqual(refused.map((result) => Result.isFailure<unknown, unknown>(result)), refused.map(() => true))
    assert.isTrue(Result.isSuccess(Flow.arrived(receiver, bytes(0, 10))))
  })
})

describe("turns", () => {
  it("between two turns of one key, everybody who waits has one", () =>
    fc.assert(fc.property(fc.uniqueArray(fc.nat(), { minLength: 2, maxLength: 20 }), (keys) => {
      const turns = new Turns<number>()
      for (const key of keys) turns.want(key)
      const first = turns.next() as number
      turns.want(first)
      const between: Array<number> = []
      for (let key = turns.next() as number; key !== first; key = turns.next() as number) between.push(key)
      assert.deepStrictEqual(between, keys.slice(1))
    })))
})
