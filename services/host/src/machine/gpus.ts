import type { Capabilities } from "@millrace/schemas"
import { Context, Effect, Layer, Option, Schema } from "effect"
import { readFile, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { GpuHealth, type GpuLook, noHealth } from "../domain/gpu-health.ts"
import { type GpuReading, symptomOf } from "../domain/gpu-symptoms.ts"
import { kernelErrors } from "./kernel-log.ts"
import { bootId } from "./machine.ts"
import { askSmi } from "./nvidia-smi.ts"
import { command } from "./sandbox-command.ts"
import { onPath } from "./sandbox-probe.ts"

/** How a test of one device went. */
export interface GpuTest {
  readonly passed: boolean
  /** What was done. */
  readonly test: string
}

/** The GPUs of this host, as their driver and the kernel tell of them. */
export interface GpusShape {
  /** Those that were here when the agent started. */
  readonly readings: ReadonlyArray<GpuReading>
  /** One look at all of them, and what the kernel has said since the last. It does not fail; a driver that hangs takes a minute. */
  readonly look: (health: GpuHealth) => Effect.Effect<{ readonly look: GpuLook; readonly health: GpuHealth }>
  /** Tests one that nobody uses. */
  readonly test: (device: { readonly uuid: string; readonly index: number }) => Effect.Effect<GpuTest>
  /** What an agent before this one remembered. */
  readonly remembered: Effect.Effect<GpuHealth>
  readonly remember: (health: GpuHealth) => Effect.Effect<void>
}

const none: GpusShape = {
  readings: [],
  look: (health) => Effect.succeed({ health, look: { readings: [], xids: [] } }),
  test: () => Effect.succeed({ passed: false, test: "there is no device" }),
  remembered: Effect.succeed(noHealth),
  remember: () => Effect.void
}

/** The GPUs of this host; without a layer it has none. */
export const Gpus = Context.Reference<GpusShape>("millrace/host/Gpus", { defaultValue: () => none })

export interface GpusOptions {
  /** The driver's tool; without it the `nvidia-smi` on PATH. */
  readonly smi: string | undefined
  /** A program that is run to test a device: it finds that one alone, and ends with 0 if it is well. Without it the `dcgmi` on PATH, else the tool's word. */
  readonly test: string | undefined
  readonly kernelLog: string
  /** The host's own folder. */
  readonly folder: string
}

const testMsMax = 600_000

/** Finds the GPUs of this machine. One without the driver's tool, or whose tool finds none, has none. */
export const findGpus = Effect.fnUntraced(function*(options: GpusOptions): Effect.fn.Return<GpusShape> {
  const smi = options.smi ?? onPath("nvidia-smi")
  if (smi === undefined) return none
  const answer = yield* askSmi(smi)
  if ("complaint" in answer) yield* Effect.logWarning(`${smi} finds no GPU to offer: ${answer.complaint}`)
  if ("complaint" in answer || answer.readings.length === 0) return none
  const file = join(options.folder, "gpus.json")
  return {
    readings: answer.readings,
    look: Effect.fnUntraced(function*(health) {
      const boot = bootId()
      const { sequence, xids } = kernelErrors(options.kernelLog, health.kernel?.bootId === boot ? health.kernel.sequence : -1)
      const answer = yield* askSmi(smi)
      const look: GpuLook = "readings" in answer ? { readings: answer.readings, xids } : { readings: undefined, xids, ...answer }
      return { look, health: { ...health, kernel: { bootId: boot, sequence } } }
    }),
    test: Effect.fnUntraced(function*({ index, uuid }) {
      const dcgmi = onPath("dcgmi")
      const [test, said] = options.test !== undefined
        ? [options.test, yield* command("/usr/bin/env", [`CUDA_VISIBLE_DEVICES=${uuid}`, options.test, uuid], testMsMax)] as const
        : dcgmi !== undefined
        ? ["dcgmi diag -r 1", yield* command(dcgmi, ["diag", "-r", "1", "-i", String(index)], testMsMax)] as const
        : [`a look by ${smi}`, { code: 0 }] as const
      // Whatever ran, what the driver says afterwards counts too.
      const answer = yield* askSmi(smi)
      const now = "readings" in answer ? answer.readings.find((reading) => reading.uuid === uuid) : undefined
      return { passed: said.code === 0 && now !== undefined && symptomOf(now, now.eccUncorrected) === undefined, test }
    }),
    remembered: Effect.promise(() => readFile(file, "utf8").catch(() => "")).pipe(Effect.map((text) => Option.getOrElse(readHealth(text), () => noHealth))),
    remember: (health) =>
      Effect.tryPromise(async () => {
        await writeFile(`${file}.next`, JSON.stringify(health), { mode: 0o600 })
        await rename(`${file}.next`, file)
      }).pipe(Effect.catch((failure) => Effect.logError(`What is known of the GPUs cannot be written to ${file}: ${String(failure.cause)}. Free some disk there`)))
  }
})

const readHealth = Schema.decodeUnknownOption(Schema.fromJsonString(GpuHealth))

/** The layer of what was found. */
export const gpusLayer = (found: GpusShape): Layer.Layer<never> => Layer.succeed(Gpus, found)

/** What a machine says it can do, with the GPUs that were found. */
export const withGpus = (own: Capabilities, { readings }: GpusShape): Capabilities =>
  readings.length === 0
    ? own
    : {
      ...own,
      resources: { ...own.resources, gpus: readings.length },
      gpus: readings.map(({ index, memoryMib, name }) => ({ index, model: name, memoryMib }))
    }
