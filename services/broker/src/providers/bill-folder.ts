import { Effect } from "effect"
import { readdir, readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import { billIn } from "../domain/bill-file.ts"
import { type BillLine, type Provider, ProviderUnclear } from "./provider.ts"

/** More than this is no month of one account's machines, and would not fit into memory beside everything else. */
const bytesMax = 256 * 1024 * 1024

/** A provider whose bills lie in a folder as CSV, where something fetches them to: what `bill` says of one that cannot be asked. */
export const withBillsIn = (folder: string | undefined, provider: Provider): Provider =>
  folder === undefined ? provider : {
    ...provider,
    bill: (fromMs, untilMs) => Effect.map(linesIn(provider.name, folder), (lines) => ({
      _tag: "Told" as const,
      value: lines.filter((line) => line.fromMs < untilMs && line.untilMs > fromMs)
    }))
  }

const linesIn = Effect.fnUntraced(function*(provider: string, folder: string): Effect.fn.Return<ReadonlyArray<BillLine>, ProviderUnclear> {
  const unclear = (detail: string) => new ProviderUnclear({ provider, doing: "reading its bills", detail })
  const trying = <A>(read: () => Promise<A>) => Effect.tryPromise({ try: read, catch: (cause) => unclear(String(cause)) })
  const names = (yield* trying(() => readdir(folder))).filter((name) => name.endsWith(".csv")).sort().map((name) => join(folder, name))
  const sizes = yield* Effect.forEach(names, (name) => trying(async () => (await stat(name)).size))
  if (sizes.reduce((sum, size) => sum + size, 0) > bytesMax) return yield* unclear(`the files in ${folder} have more than ${bytesMax} bytes together`)
  const lines: Array<BillLine> = []
  for (const name of names) {
    const bill = billIn(yield* trying(() => readFile(name, "utf8")))
    if (bill._tag === "Failure") return yield* unclear(`${name}: ${bill.failure.message}`)
    for (const line of bill.success) lines.push(line)
  }
  return lines
})
