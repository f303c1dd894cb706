import { accessProcess } from "@millrace/access"
import { gatewayProcess } from "@millrace/gateway"
import { hostProcess } from "@millrace/host"
import { schedulerProcess } from "@millrace/scheduler"
import { processConfig, readSettings, Readiness, type Service, serviceLayer, settingsSource } from "@millrace/service"
import { Effect, Layer, type Scope } from "effect"
import type { Stack } from "./stack.ts"

const all: ReadonlyArray<Service<any, any>> = [gatewayProcess, schedulerProcess, accessProcess, hostProcess]

/** Runs every service in this process, for as long as the scope lives: the same layers as the processes of their own. */
export const startServices = Effect.fnUntraced(function*({ env }: Stack): Effect.fn.Return<void, unknown, Scope.Scope | Readiness> {
  const source = yield* settingsSource({ ...process.env, ...env })
  const around = yield* readSettings(processConfig, source)
  for (const one of all) {
    const settings = yield* readSettings(one.config, source)
    yield* Layer.build(serviceLayer(one, settings, around))
  }
  yield* Readiness.use(({ whenReady }) => whenReady).pipe(Effect.timeout("60 seconds"))
})
