import { accessProcess } from "@millrace/access"
import { brokerProcess } from "@millrace/broker"
import { gatewayProcess } from "@millrace/gateway"
import { hostProcess } from "@millrace/host"
import { meteringProcess } from "@millrace/metering"
import { schedulerProcess } from "@millrace/scheduler"
import { processConfig, readSettings, Readiness, type Service, serviceLayer, settingsSource } from "@millrace/service"
import { snapshotsProcess } from "@millrace/snapshots"
import { Effect, Layer, type Scope } from "effect"
import { availableParallelism } from "node:os"
import type { Stack } from "./stack.ts"

/** Services that speak first: access opens the cell, and the others hear it. */
const all: ReadonlyArray<Service<any, any>> = [accessProcess, meteringProcess, schedulerProcess, gatewayProcess, snapshotsProcess, brokerProcess, hostProcess]

/** The cell itself needs some of the machine: work gets all cores but a half. */
const cpuMilliOffered = availableParallelism() * 1_000 - 500

/**
 * Runs every service in this process, for as long as the scope lives: the same layers as the processes of
 * their own. Work ends with it: nothing is left running on this machine.
 */
export const startServices = Effect.fnUntraced(function*(
  { env }: Pick<Stack, "env">,
  more: Readonly<Record<string, string>> = {}
): Effect.fn.Return<void, unknown, Scope.Scope | Readiness> {
  const source = yield* settingsSource({ MILLRACE_GANG_ADDRESS: "127.0.0.1", ...process.env, ...env, MILLRACE_AT_STOP: "end", MILLRACE_HOST_CPU_MILLI: String(cpuMilliOffered), ...more })
  const around = yield* readSettings(processConfig, source)
  yield* Effect.forEach(all, (one) =>
    Effect.flatMap(readSettings(one.config, source), (settings) => Layer.build(serviceLayer(one, settings, around))), { concurrency: "unbounded", discard: true })
  yield* Readiness.use(({ whenReady }) => whenReady).pipe(Effect.timeout("60 seconds"))
})
