import { Effect } from "effect"
import type { GpuReading } from "../domain/gpu-symptoms.ts"
import { busIdOf } from "../domain/gpu-symptoms.ts"
import { command } from "./sandbox-command.ts"

/**
 * What is asked of each device. The first are known to every driver, the others to newer ones: a driver that does not know
 * a field refuses the whole question, and is asked for the first alone. Source: `nvidia-smi --help-query-gpu`.
 */
const everywhere = ["index", "uuid", "name", "memory.total", "pci.bus_id", "temperature.gpu"] as const
const newer = ["ecc.errors.uncorrected.volatile.total", "remapped_rows.failure", "remapped_rows.pending"] as const

/** A driver that hangs holds its tool. */
const askMsMax = 30_000

/** What the tool answered: readings, or its complaint and the device that it names there. */
export type SmiAnswer = { readonly readings: ReadonlyArray<GpuReading> } | { readonly complaint: string; readonly lost?: string }

/** Asks the driver's tool for all devices. It takes no longer than a minute, and does not fail. */
export const askSmi = Effect.fnUntraced(function*(tool: string): Effect.fn.Return<SmiAnswer> {
  const ask = (fields: ReadonlyArray<string>) => command(tool, [`--query-gpu=${fields.join(",")}`, "--format=csv,noheader,nounits"], askMsMax)
  let said = yield* ask([...everywhere, ...newer])
  if (said.code !== 0 && /not a valid field/u.test(said.stdout + said.stderr)) said = yield* ask(everywhere)
  const readings = readingsIn(said.stdout)
  if (said.code === 0) return { readings }
  const complaint = (said.stderr.trim() || said.stdout.trim()).split("\n").at(-1)?.slice(0, 300) || `it ended with ${said.code}`
  const [, lost] = /GPU ?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])/u.exec(said.stdout + said.stderr) ?? []
  return { complaint, ...(lost === undefined ? {} : { lost: busIdOf(lost) }) }
})

/** The rows of its answer. One that is not of this form, such as a lost device's, is none. */
export const readingsIn = (csv: string): ReadonlyArray<GpuReading> =>
  csv.split("\n").flatMap((line) => {
    const [index = "", uuid = "", name = "", memory = "", bus = "", temperature, ecc, failed, pending] = line.split(",").map((field) => field.trim())
    if (!/^\d+$/u.test(index) || !uuid.startsWith("GPU-") || !/^\d+$/u.test(memory)) return []
    return [{
      index: Number(index), uuid, name, memoryMib: Number(memory), busId: busIdOf(bus),
      ...numbered("temperatureC", temperature), ...numbered("eccUncorrected", ecc), ...answered("remapFailed", failed), ...answered("remapPending", pending)
    }]
  })

const numbered = <Name extends string>(name: Name, text: string | undefined): { readonly [N in Name]?: number } =>
  (text !== undefined && /^\d+$/u.test(text) ? { [name]: Number(text) } : {}) as { readonly [N in Name]?: number }

/** Drivers say yes and no, or how many. */
const answered = <Name extends string>(name: Name, text: string | undefined): { readonly [N in Name]?: boolean } =>
  (text !== undefined && /^(yes|no|\d+)$/iu.test(text) ? { [name]: !/^(no|0+)$/iu.test(text) } : {}) as { readonly [N in Name]?: boolean }
