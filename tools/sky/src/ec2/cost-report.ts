import type { Bill } from "../books.ts"

const hourMs = 3_600_000

const columns = [
  "identity/LineItemId", "bill/PayerAccountId", "lineItem/LineItemType", "lineItem/UsageStartDate", "lineItem/UsageEndDate", "lineItem/ProductCode", "lineItem/UsageType",
  "lineItem/Operation", "lineItem/ResourceId", "lineItem/UsageAmount", "lineItem/CurrencyCode", "lineItem/UnblendedCost"
]

/** Pico-dollars as dollars, with all their decimals. */
const dollarsOf = (pico: bigint): string => `${pico / 1_000_000_000_000n}.${(pico % 1_000_000_000_000n).toString().padStart(12, "0")}`

/**
 * What the vendor would have in its cost and usage report (Data Exports user guide, 2026): a line a machine and whole hour, with the part of the
 * hour that was used. Of each machine the lines are together exactly what the ledger says.
 */
export const costReportOf = (bills: ReadonlyArray<Bill>): string => {
  const rows = bills.flatMap(({ billedMs, costPico, machine, market, sinceMs }) => {
    const lines: Array<ReadonlyArray<string>> = []
    let paidPico = 0n
    for (let fromMs = sinceMs; fromMs < sinceMs + billedMs;) {
      const startMs = Math.floor(fromMs / hourMs) * hourMs
      const untilMs = Math.min(startMs + hourMs, sinceMs + billedMs)
      const soFarPico = (costPico * BigInt(untilMs - sinceMs)) / BigInt(billedMs)
      lines.push([
        `${machine}-${startMs}`, "123456789012", "Usage", new Date(startMs).toISOString(), new Date(startMs + hourMs).toISOString(), "AmazonEC2",
        market === "spot" ? "SpotUsage:t3.small" : "BoxUsage:t3.small", "RunInstances", machine, ((untilMs - fromMs) / hourMs).toFixed(10), "USD", dollarsOf(soFarPico - paidPico)
      ])
      paidPico = soFarPico
      fromMs = untilMs
    }
    return lines
  })
  return `${[columns, ...rows].map((row) => row.join(",")).join("\n")}\n`
}
