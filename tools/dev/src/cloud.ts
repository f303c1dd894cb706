import { accountsAt, agents, providersOf, type RunningCloud, startSky, type Vendors } from "@millrace/sky"
import { Effect, type Scope } from "effect"
import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Stack } from "./stack.ts"

/** Pretend clouds beside the cell, and the settings by which the broker buys there. */
export interface Cloud {
  /** The first of them: it answers for all. */
  readonly sky: RunningCloud
  readonly env: Readonly<Record<string, string>>
}

/** What an agent on a rented machine is told: where the cell is, and nothing that is secret. */
const toldToMachines = [
  "MILLRACE_NATS_URL", "MILLRACE_ACCESS_URL", "MILLRACE_API_URL", "MILLRACE_CELL_KEY_PUBLIC", "MILLRACE_SESSION_KEY_PUBLIC", "MILLRACE_KEYS", "MILLRACE_BLOBS", "MILLRACE_RUNSC"
]
/**
 * Runs pretend clouds whose machines are real host agents in child processes, for as long as the scope lives.
 * They are gone when it stops: what the cell then still leases is found ended at its next start.
 */
export const startCloud = Effect.fnUntraced(function*({ env, folder }: Stack, vendors: Vendors = ["lambda"]): Effect.fn.Return<Cloud, Error, Scope.Scope> {
  const at = (...names: ReadonlyArray<string>) => join(folder, ...names)
  rmSync(at("machines"), { recursive: true, force: true })
  // A vendor lets so many calls through; the pretend ones need not.
  const accounts = accountsAt(vendors, { folder: at("keys"), quick: true })
  const sky = yield* startSky({ clouds: Object.fromEntries(Object.entries(accounts).map(([name, { cloud }]) => [name, cloud])), power: agents({ folder: at("machines") }) })
  writeFileSync(at("providers.json"), `${JSON.stringify(providersOf(accounts, sky), null, 2)}\n`)
  writeFileSync(at("machines.env"), toldToMachines.flatMap((name) => (env[name] === undefined ? [] : [`${name}=${env[name]}\n`])).join(""))
  return {
    sky: sky[vendors[0]]!,
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
