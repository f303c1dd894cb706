import { moneyText } from "./money.ts"
import { type Held, type Priced, type PriceLine, priceLines, priceOf } from "./price.ts"

/** What work will cost at most, before it begins. */
export interface Estimate {
  /** One task that takes all the time it may. */
  readonly taskPico: bigint
  readonly totalPico: bigint
  readonly lines: ReadonlyArray<PriceLine>
  /** How it comes to that, in words: what a refusal shows. */
  readonly arithmetic: string
}

/** The most that `tasks` tasks cost when each holds these resources for `runMsMax` milliseconds. */
export const estimate = (book: Priced, { held, runMsMax, tasks = 1 }: { readonly held: Held; readonly runMsMax: number; readonly tasks?: number }): Estimate => {
  const taskPico = priceOf(book, held, runMsMax)
  const totalPico = taskPico * BigInt(tasks)
  const lines = priceLines(book, held, runMsMax)
  const parts = lines.map(({ amountPico, billedMs, quantityMilli, sku }) => `${quantityMilli / 1000} ${sku} for ${billedMs / 1000} s = ${moneyText(amountPico)}`)
  const sum = `${parts.join(" + ") || "nothing that has a price"}${parts.length > 1 ? ` = ${moneyText(taskPico)}` : ""}`
  return { taskPico, totalPico, lines, arithmetic: tasks === 1 ? sum : `${tasks} tasks of ${sum}, together ${moneyText(totalPico)}` }
}
