import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** The value below which a share of the samples lie (nearest rank). */
export const quantile = (samples: ReadonlyArray<number>, share: number): number => {
  const sorted = [...samples].sort((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN
}

/** To three digits, so that a figure does not pretend to be exacter than it is. */
export const rounded = (value: number): number => Number(value.toPrecision(3))

/** What one fsync of 4 KiB costs on the disk that the log lies on, p50 in ms: the price of every single append. */
export const fsyncMs = (folder = tmpdir()): number => {
  const place = mkdtempSync(join(folder, "millrace-fsync-"))
  const file = openSync(join(place, "probe"), "w")
  try {
    const bytes = Buffer.alloc(4096, 1)
    const samples: Array<number> = []
    for (let round = 0; round < 300; round += 1) {
      writeSync(file, bytes)
      const beganMs = performance.now()
      fsyncSync(file)
      samples.push(performance.now() - beganMs)
    }
    return rounded(quantile(samples, 0.5))
  } finally {
    closeSync(file)
    rmSync(place, { recursive: true })
  }
}

/** Prints a nested record of figures as aligned lines. */
export const asLines = (figures: unknown, indent = ""): string =>
  Object.entries(figures as Record<string, unknown>).map(([name, value]) =>
    typeof value === "object" && value !== null && !(Array.isArray(value) && value.every((item) => typeof item !== "object"))
      ? `${indent}${name}\n${asLines(value, `${indent}  `)}`
      : `${indent}${name.padEnd(24 - indent.length)}${String(value)}`).join("\n")
