import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Bill, heldAgainst } from "./bill-file.ts"

const fromMs = Date.UTC(2026, 10, 1)
const hour = 3_600_000
const price = 1_000_000_000n
const bill: Bill = {
  provider: "cloud", fromMs, untilMs: fromMs + 24 * hour, oursPico: "3600000000000", theirsPico: null, detail: "it cannot be asked for its bill",
  machines: [{
    machine: "m1", leaseId: "lse_a", oursPico: "3600000000000", theirsPico: null, differences: [],
    terms: { sinceMs: fromMs, untilMs: fromMs + hour, pricePicoPerSecond: `${price}`, billedStepMs: 1_000, billedMsMin: 0 }
  }]
}

const held = (text: string) =>
  Effect.scoped(Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "bill-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true })))
    const file = join(folder, "bill.csv")
    writeFileSync(file, text)
    return yield* heldAgainst(bill, file)
  }))

describe("a bill in a file", () => {
  it.effect("stands beside our account, every difference with its cause, and what lies outside of the time is left out", () => Effect.gen(function*() {
    const line = (machine: string, from: number, until: number, amount: string) => [machine, new Date(fromMs + from).toISOString(), new Date(fromMs + until).toISOString(), amount].join(",")
    const { machines, oursPico, theirsPico } = yield* held(["machine,from,until,amount", line("m1", 0, 2 * hour, "7.2"), line("m2", 0, hour, "1.25"), line("m1", -48 * hour, -47 * hour, "9")].join("\n"))
    assert.deepStrictEqual([oursPico, theirsPico], ["3600000000000", "8450000000000"])
    assert.deepStrictEqual(machines.map(({ differences, leaseId, machine }) => [machine, leaseId, differences.map(({ cause, pico }) => `${cause} ${pico}`)]), [
      ["m1", "lse_a", ["ended 3600000000000"]], ["m2", null, ["unknown_to_us 1250000000000"]]
    ])
  }))

  it.effect("that is none is refused, and says what one is like", () => Effect.gen(function*() {
    assert.deepInclude(yield* Effect.flip(held("a,b\n1,2\n")), { code: "bill_unreadable" })
    assert.deepInclude(yield* Effect.flip(heldAgainst(bill, "/none")), { code: "bill_unreadable", where: "/none" })
  }))
})
