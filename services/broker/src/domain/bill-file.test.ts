import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { reconcile } from "./bill.ts"
import { billIn } from "./bill-file.ts"

const lines = (text: string) => Result.getOrThrow(billIn(text))
const refused = (text: string) => Result.match(billIn(text), { onFailure: ({ message }) => message, onSuccess: () => "" })
const dollar = 1_000_000_000_000n

describe("a bill in a file", () => {
  it("is read with its amounts exact, in quotes or not, whatever it is for", () => {
    const text = '\uFEFFmachine,from,until,amount,of,currency\r\nm1,2026-11-01T00:00:00Z,2026-11-01T01:00:00Z,0.000000000001,,USD\r\n"m,""2""",2026-11-01,2026-11-02,-1.5e-3,credit,\n\n,2026-11-01,2026-11-02,2,tax,USD'
    const [first, second, third] = lines(text)
    assert.deepStrictEqual(first, { machine: "m1", fromMs: Date.UTC(2026, 10, 1), untilMs: Date.UTC(2026, 10, 1, 1), amountPico: 1n })
    assert.deepInclude(second, { machine: 'm,"2"', amountPico: -1_500_000_000n, of: "credit" })
    assert.deepInclude(third, { machine: "none", amountPico: 2n * dollar, of: "tax" })
  })

  it("is refused by line and reason where it cannot be read", () => {
    assert.match(refused("a,b\n1,2"), /^line 1: these are no columns/u)
    const head = "machine,from,until,amount,currency\n"
    assert.match(refused(`${head}m,2026-11-01,2026-11-02,1,USD\nm,2026-11-01,2026-11-02,one,USD`), /^line 3: one is no amount in dollars/u)
    assert.match(refused(`${head}m,2026-11-02,2026-11-01,1,USD`), /is no period/u)
    assert.match(refused(`${head}m,2026-11-01,2026-11-02,1,EUR`), /^line 2: EUR are no dollars/u)
    assert.match(refused(`${head}m,2026-11-01,2026-11-02,"1,USD`), /a quote is not closed/u)
    assert.match(refused("machine,from,until,amount,of\nm,2026-11-01,2026-11-02,1,luck"), /luck is none of disk/u)
  })

  it("of AWS, either generation, tells machines from their disks, traffic, taxes and credits, and every cent is explained", () => {
    const head = "lineItem/LineItemType,lineItem/UsageStartDate,lineItem/UsageEndDate,lineItem/UsageType,lineItem/ResourceId,lineItem/UsageAmount,lineItem/CurrencyCode,lineItem/UnblendedCost"
    const row = (type: string, usage: string, resource: string, amount: string, cost: string) => [type, "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z", usage, resource, amount, "USD", cost].join(",")
    const rows = [
      row("Usage", "BoxUsage:p5.48xlarge", "i-0a", "0.5", "10"),
      row("Usage", "BoxUsage:p5.48xlarge", "i-0a", "0.25", "5"),
      row("Usage", "USE1-DataTransfer-Out-Bytes", "i-0a", "7", "0.63"),
      row("Usage", "EBS:VolumeUsage.gp3", "arn:aws:ec2:us-east-1:1:volume/vol-0b", "1", "0.08"),
      row("Tax", "", "", "1", "2.2"),
      row("Credit", "BoxUsage:p5.48xlarge", "i-0a", "1", "-1"),
      row("Usage", "BoxUsage:p5.48xlarge", "i-0stranger", "1", "20")
    ]
    const legacy = lines([head, ...rows].join("\n"))
    assert.deepStrictEqual(lines([head.replaceAll("lineItem/", "line_item_").replace(/([a-z])([A-Z])/gu, "$1_$2").toLowerCase(), ...rows].join("\n")), legacy)
    assert.deepInclude(lines([head, row("Usage", "BoxUsage:p5.48xlarge", "i-0a", "0.5", "10")].join("\n"))[0], { usedMs: 1_800_000 })
    assert.notProperty(lines([head, row("Usage", "BoxUsage:p5.48xlarge", "i-0a", "", "10")].join("\n"))[0], "usedMs", "what is not said is not nothing")
    const sinceMs = Date.UTC(2026, 10, 1, 10, 10)
    const price = (20n * dollar) / 3600n
    const compared = reconcile([{ leaseId: "lse_a", machine: "i-0a", sinceMs, untilMs: sinceMs + 2_760_000, pricePicoPerSecond: price, billing: { billedStepMs: 1_000, billedMsMin: 60_000 } }], legacy)
    const causes = Object.fromEntries(compared.map(({ differences, machine }) => [machine, differences.map(({ cause, pico }) => [cause, pico])]))
    assert.deepStrictEqual(causes, {
      "i-0a": [["time", -60n * price], ["rounding", 15n * dollar - 2700n * price], ["traffic", 630_000_000_000n], ["credit", -dollar]],
      "vol-0b": [["disk", 80_000_000_000n]],
      none: [["tax", 2_200_000_000_000n]],
      "i-0stranger": [["unknown_to_us", 20n * dollar]]
    })
    const sum = (of: (one: (typeof compared)[number]) => bigint) => compared.reduce((total, one) => total + of(one), 0n)
    assert.strictEqual(sum(({ differences }) => differences.reduce((total, { pico }) => total + pico, 0n)), sum(({ theirsPico }) => theirsPico) - sum(({ oursPico }) => oursPico))
    assert.strictEqual(sum(({ theirsPico }) => theirsPico), legacy.reduce((total, { amountPico }) => total + amountPico, 0n))
  })
})
