// Reads the year's sales, finds which region grows fastest, and leaves a table and a chart behind.
const { readFileSync, writeFileSync } = require("node:fs")

const [header, ...lines] = readFileSync("/work/sales.csv", "utf8").trim().split("\n")
const columns = header.split(",")
const rows = lines.map((line) => Object.fromEntries(line.split(",").map((cell, i) => [columns[i], cell])))
const whole = rows.filter(({ quantity }) => quantity !== "")
console.log(`read ${rows.length} rows, left out ${rows.length - whole.length} without a quantity`)

const months = Array.from({ length: 12 }, (_, i) => `2026-${String(i + 1).padStart(2, "0")}`)
const regions = [...new Set(whole.map(({ region }) => region))].sort()
const cents = new Map()
for (const { date, quantity, region, unit_cents } of whole) {
  const cell = `${region} ${date.slice(0, 7)}`
  cents.set(cell, (cents.get(cell) ?? 0) + Number(quantity) * Number(unit_cents))
}
const series = (region) => months.map((month) => (cents.get(`${region} ${month}`) ?? 0) / 100)

// The slope of the least-squares line through the twelve months, in dollars a month.
const slope = (values) => {
  const n = values.length
  const meanX = (n - 1) / 2
  const meanY = values.reduce((a, b) => a + b, 0) / n
  const top = values.reduce((sum, y, x) => sum + (x - meanX) * (y - meanY), 0)
  const bottom = values.reduce((sum, _, x) => sum + (x - meanX) ** 2, 0)
  return top / bottom
}

const table = regions
  .map((region) => ({ region, total: series(region).reduce((a, b) => a + b, 0), slope: slope(series(region)) }))
  .sort((a, b) => b.slope - a.slope)
for (const { region, slope, total } of table) {
  console.log(`${region.padEnd(6)} ${total.toFixed(2).padStart(12)} USD  ${slope >= 0 ? "+" : ""}${slope.toFixed(2)} USD a month`)
}

const bars = table.map(({ region, total }, i) =>
  `<rect x="70" y="${20 + i * 34}" width="${(total / table[0].total * 260).toFixed(1)}" height="24"/><text x="8" y="${37 + i * 34}">${region}</text>`)
writeFileSync(`${process.env.MILLRACE_ARTEFACTS}/growth.svg`,
  `<svg xmlns="http://www.w3.org/2000/svg" width="360" height="${table.length * 34 + 30}" font-family="sans-serif" font-size="14">${bars.join("")}</svg>\n`)
writeFileSync(`${process.env.MILLRACE_ARTEFACTS}/growth.json`, `${JSON.stringify(table, null, 2)}\n`)
console.log(`fastest growing: ${table[0].region}`)
