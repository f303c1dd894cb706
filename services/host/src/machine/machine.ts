import { type Capabilities, HostId } from "@millrace/schemas"
import { Clock, Context, Effect, Layer } from "effect"
import { readFileSync } from "node:fs"
import { availableParallelism, totalmem } from "node:os"

/** The machine that a host agent speaks for. */
export class Machine extends Context.Service<Machine, {
  readonly hostId: HostId
  /** Host-monotonic times are comparable only within one boot id. */
  readonly bootId: string
  /** Whole ms since the machine's boot, on its monotonic clock. */
  readonly monotonicMs: Effect.Effect<number>
  readonly capabilities: Capabilities
}>()("millrace/host/Machine") {
  static readonly layer = (hostId: HostId, capabilities: Capabilities): Layer.Layer<Machine> => Layer.sync(Machine, () => ({
    hostId,
    bootId: bootId(),
    monotonicMs: Effect.sync(() => Math.floor(Number(process.hrtime.bigint() / 1_000_000n))),
    capabilities
  }))

  /** A machine whose clock is the program's own: for the simulator. */
  static readonly layerSimulated = (hostId: HostId, bootId: string, capabilities: Capabilities): Layer.Layer<Machine> =>
    Layer.succeed(Machine, { hostId, bootId, monotonicMs: Clock.currentTimeMillis, capabilities })
}

/** Names this boot of the machine's kernel. */
export const bootId = (): string => {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
  } catch {
    // Elsewhere than on Linux nobody tells boots apart for us: a start of the agent counts as one.
    return `agent-${process.pid}-${process.hrtime.bigint()}`
  }
}

/**
 * What this machine can do without isolation: our own work alone. Cores and memory are the machine's,
 * less a tenth that the system keeps.
 */
export const ownCapabilities = ({ cpuMilliMax = Number.MAX_SAFE_INTEGER, memoryMibMax = Number.MAX_SAFE_INTEGER }: {
  readonly cpuMilliMax?: number | undefined
  readonly memoryMibMax?: number | undefined
} = {}): Capabilities => ({
  resources: {
    cpuMilli: Math.min(cpuMilliMax, Math.floor(availableParallelism() * 1000)),
    memoryMib: Math.min(memoryMibMax, Math.floor((totalmem() / 2 ** 20) * 0.9)),
    diskMib: 0,
    gpus: 0
  },
  gpus: [],
  runtimes: ["noop", "process"],
  trusts: ["own"],
  labels: {}
})
