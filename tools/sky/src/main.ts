/**
 * Pretend clouds on this machine:
 *
 *   node tools/sky/src/main.ts --keys FOLDER [--clouds lambda,ec2,vast,coreweave] [--port 8090] [--machines FOLDER [--namespaces]] [--fast]
 *
 * `--keys` holds the keys that they take, made when missing, and `providers.json` for a broker. The first cloud
 * listens at `--port`, the others behind it. With `--machines` each machine runs a real host agent there, as its user
 * data says; with `--namespaces` each in a network namespace of its own, where it reaches the cell and nothing else. `--fast` drops the vendors' waits between requests.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { accountsAt, providersOf, vendors, vendorsIn } from "./accounts.ts"
import { agents, dark } from "./machines.ts"
import { startSky } from "./sky.ts"

const { values } = parseArgs({
  options: {
    clouds: { type: "string", default: vendors.join(",") },
    port: { type: "string", default: "8090" },
    keys: { type: "string" },
    machines: { type: "string" },
    namespaces: { type: "boolean", default: false },
    fast: { type: "boolean", default: false }
  }
})

const wrong = (what: string): never => {
  process.stderr.write(`${what}\n`)
  return process.exit(64)
}

const keys = values.keys === undefined ? wrong("The sky wants to know whom it serves: --keys FOLDER, where its keys lie; they are made when missing.") : resolve(values.keys)
const named = vendorsIn(values.clouds)
const names = "unknown" in named ? wrong(`There is no pretend cloud named ${JSON.stringify(named.unknown)}; there are ${vendors.join(", ")}.`) : named

NodeRuntime.runMain(Effect.scoped(Effect.gen(function*() {
  const accounts = accountsAt(names, { folder: keys, quick: values.fast })
  const sky = yield* startSky({
    port: Number(values.port),
    clouds: Object.fromEntries(Object.entries(accounts).map(([name, { cloud }]) => [name, cloud])),
    power: values.machines === undefined ? dark : agents({ folder: resolve(values.machines), namespaces: values.namespaces })
  })
  const file = join(keys, "providers.json")
  writeFileSync(file, `${JSON.stringify(providersOf(accounts, sky), null, 2)}\n`)
  for (const [name, { url }] of Object.entries(sky)) process.stdout.write(`${name.padEnd(12)}${url}   weather and ledger: ${url}/sky/weather, ${url}/sky/ledger\n`)
  process.stdout.write(`A broker buys there with MILLRACE_PROVIDERS=${file}\n`)
  return yield* Effect.never
})))
