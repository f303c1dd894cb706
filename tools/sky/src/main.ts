/**
 * A pretend Lambda Cloud on this machine:
 *
 *   node tools/sky/src/main.ts --port 8090 --key-file PATH [--folder PATH] [--fast]
 *
 * `--key-file` holds the API key that it takes; it is made when missing. With `--folder` each machine runs a real
 * host agent there, as its user data says. `--fast` drops the vendor's waits between requests.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { lambdaCloud } from "./lambda/lambda-api.ts"
import { agents, dark } from "./machines.ts"
import { startSky } from "./sky.ts"

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "8090" },
    "key-file": { type: "string" },
    folder: { type: "string" },
    fast: { type: "boolean", default: false }
  }
})

const keyFile = values["key-file"]
if (keyFile === undefined) {
  process.stderr.write("The sky wants to know whom it serves: --key-file PATH, a file with an API key; made when missing.\n")
  process.exit(64)
}
if (!existsSync(keyFile)) writeFileSync(keyFile, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 })

NodeRuntime.runMain(Effect.scoped(Effect.gen(function*() {
  const { lambda } = yield* startSky({
    port: Number(values.port),
    clouds: { lambda: lambdaCloud({ apiKey: readFileSync(keyFile, "utf8").trim(), ...(values.fast ? { everyMs: { any: 0, launch: 0 } } : {}) }) },
    power: values.folder === undefined ? dark : agents({ folder: values.folder })
  })
  process.stdout.write(`The pretend Lambda Cloud listens at ${lambda.url}; its weather and ledger at ${lambda.url}/sky/weather and /sky/ledger\n`)
  return yield* Effect.never
})))
