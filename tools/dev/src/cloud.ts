import { agents, lambdaCloud, type RunningCloud, startSky } from "@millrace/sky"
import { Effect, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Stack } from "./stack.ts"

/** A pretend cloud beside the cell, and the settings by which the broker buys there. */
export interface Cloud {
  readonly sky: RunningCloud
  readonly env: Readonly<Record<string, string>>
}

/** What an agent on a rented machine is told: where the cell is, and nothing that is secret. */
const toldToMachines = [
  "MILLRACE_NATS_URL", "MILLRACE_ACCESS_URL", "MILLRACE_API_URL", "MILLRACE_CELL_KEY_PUBLIC", "MILLRACE_SESSION_KEY_PUBLIC", "MILLRACE_KEYS", "MILLRACE_BLOBS", "MILLRACE_RUNSC"
]
/** A vendor lets so many calls through; the pretend one need not. In ms. */
const quick = { any: 10, create: 50, launch: 50 }

/**
 * Runs a pretend cloud whose machines are real host agents in child processes, for as long as the scope lives.
 * They are gone when it stops: what the cell then still leases is found ended at its next start.
 */
export const startCloud = Effect.fnUntraced(function*({ env, folder }: Stack): Effect.fn.Return<Cloud, Error, Scope.Scope> {
  const at = (...names: ReadonlyArray<string>) => join(folder, ...names)
  const apiKey = keptSecret(at("keys", "sky.key"))
  rmSync(at("machines"), { recursive: true, force: true })
  const { lambda: sky } = yield* startSky({ clouds: { lambda: lambdaCloud({ apiKey, everyMs: { any: quick.any, launch: quick.launch } }) }, power: agents({ folder: at("machines") }) })
  const providers = { providers: [{ name: "lambda", speaks: "lambda", endpoint: sky.url, keyFile: at("keys", "sky.key"), everyMs: { any: quick.any, create: quick.create }, visibleWithinMs: 1_000 }] }
  writeFileSync(at("providers.json"), `${JSON.stringify(providers, null, 2)}\n`)
  writeFileSync(at("machines.env"), toldToMachines.flatMap((name) => (env[name] === undefined ? [] : [`${name}=${env[name]}\n`])).join(""))
  return {
    sky,
    env: {
      MILLRACE_PROVIDERS: at("providers.json"),
      MILLRACE_AGENT_SETTINGS: at("machines.env"),
      MILLRACE_BROKER_MACHINES_MAX: "3",
      MILLRACE_BROKER_SPEND_MAX: "1",
      MILLRACE_BROKER_IDLE_S: "120",
      MILLRACE_BROKER_SWEEP_S: "2",
      MILLRACE_BROKER_OFFERS_S: "5"
    }
  }
})

const keptSecret = (path: string): string => {
  if (!existsSync(path)) writeFileSync(path, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 })
  return readFileSync(path, "utf8").trim()
}
