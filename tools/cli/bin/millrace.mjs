#!/usr/bin/env node
/**
 * The `millrace` command. The product is TypeScript that Node 24 runs as it is; an older Node that this is
 * started with hands over to the Node that the dependencies brought.
 */
import { millraceHome, requireNode24 } from "@millrace/bootstrap"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import * as modules from "node:module"
import { constants } from "node:os"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

const here = fileURLToPath(import.meta.url)
const ownNode = join(resolve(dirname(here), "../../.."), "node_modules/.bin/node")
const handedOver = "MILLRACE_HANDED_OVER"

if (Number.parseInt(process.versions.node, 10) >= 24 || process.env[handedOver] === "1" || !existsSync(ownNode)) {
  requireNode24()
  // What was compiled once is kept: most of a short command's time is reading its own text.
  modules.enableCompileCache?.(join(millraceHome(), "compiled"))
  await import("../src/main.ts")
} else {
  const child = spawn(ownNode, [here, ...process.argv.slice(2)], { stdio: "inherit", env: { ...process.env, [handedOver]: "1" } })
  // At a terminal Ctrl-C reaches both of us; a signal sent to this process alone is for the other one.
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) process.on(signal, () => child.kill(signal))
  child.on("error", (error) => {
    process.stderr.write(`millrace: ${ownNode} cannot be started: ${error.message}. Install the dependencies again: npm ci\n`)
    process.exit(69)
  })
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal ?? "SIGTERM"]))
}
