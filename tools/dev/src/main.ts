import { requireNode24, millraceHome } from "@millrace/bootstrap"
import { logsLayer, Readiness } from "@millrace/service"
import { Cause, Effect, Exit, Fiber } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { apiClient } from "@millrace/cli"
import { type Vendors, vendors, vendorsIn } from "@millrace/sky"
import { startServices } from "./all-in-one.ts"
import { startCloud } from "./cloud.ts"
import { firstJob } from "./first-job.ts"
import { openDoor } from "./open-door.ts"
import { firstStory, isolation, storyLeaseMs } from "./story/first-story.ts"
import { startStack } from "./stack.ts"

requireNode24()

const help = `npm start -- [options]

Runs a whole cell on this machine and shows one job's story.

  --once         on free ports, in a fresh folder; ends after the story
  --free-ports   free ports instead of 8080, 8081, 4222 and 5433
  --fast         the same story with shorter waits: a lost machine is noticed sooner
  --clouds A,B   which pretend clouds to buy from: lambda (as without this), ec2, vast, coreweave
  --folder PATH  where everything is kept (.millrace/cell)
  --help         this text
`

const given = () => parseArgs({
  options: {
    once: { type: "boolean", default: false },
    fast: { type: "boolean", default: false },
    "free-ports": { type: "boolean", default: false },
    clouds: { type: "string", default: "lambda" },
    folder: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const { values } = ((): ReturnType<typeof given> => {
  try {
    return given()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${help}`)
    return process.exit(64)
  }
})()

const clouds = ((): Vendors => {
  const named = vendorsIn(values.clouds)
  if (!("unknown" in named)) return named
  process.stderr.write(`There is no pretend cloud named ${JSON.stringify(named.unknown)}; there are ${vendors.join(", ")}.\n`)
  return process.exit(64)
})()

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** Each step in one line, with its time. */
const step = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const sinceMs = performance.now()
    return Effect.tap(effect, () => Effect.sync(() => say(`  ${name.padEnd(14)}${((performance.now() - sinceMs) / 1000).toFixed(1)} s`)))
  })

const run = Effect.scoped(Effect.gen(function*() {
  const fresh = values.once && values.folder === undefined
  const folder = values.folder ?? (fresh ? mkdtempSync(join(tmpdir(), "millrace-")) : join(millraceHome(), "cell"))
  if (fresh) yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
  const stack = yield* startStack({ folder, freePorts: values.once || values["free-ports"], step })
  const { env, sky } = yield* step("pretend cloud", startCloud(stack, clouds))
  const leaseMs = values.fast ? storyLeaseMs.fast : storyLeaseMs.usual
  yield* step("services", startServices(stack, { ...env, MILLRACE_LEASE_MS: String(leaseMs) }))
  yield* openDoor(stack, sky.url)
  say("")
  for (const [name, where] of [["API", stack.apiUrl], ["hosts enrol", stack.accessUrl], ["NATS", stack.natsUrl], ["PostgreSQL", new URL(stack.databaseUrl).host], ["pretend cloud", sky.url], ["token", stack.tokenFile]]) {
    say(`  ${name!.padEnd(14)}${where}`)
  }
  say("")
  const stage = { apiUrl: stack.apiUrl, ownerToken: readFileSync(stack.tokenFile, "utf8").trim(), skyUrl: sky.url, leaseMs }
  const told = Effect.gen(function*() {
    const { holds, why } = yield* isolation(stage)
    if (holds) return yield* firstStory(stage, say)
    say(`Nothing isolates work on this machine (${why}), so only work that is your own runs here: trust: own on every line.`)
    say("What would change it says: npx millrace doctor")
    say("")
    yield* firstJob(yield* apiClient({ url: stage.apiUrl, token: stage.ownerToken }), say)
  })
  // A cell that is up is worth more than a story that broke off, say because other work keeps it busy.
  yield* values.once ? told : Effect.catch(told, (error) => Effect.sync(() => say(`\nThe story broke off: ${wordsOf(error)}`)))
  if (values.once) return
  say("")
  say("Worth typing next:")
  say("  npx millrace submit -- sh -c 'echo hello; uname -r'")
  say("  npx millrace events")
  say("  npx millrace replay --verify")
  say("")
  say("Everything stays up until Ctrl-C.")
  return yield* Effect.never
}))

if (values.help) {
  process.stdout.write(help)
} else {
  const fiber = Effect.runFork(run.pipe(
    Effect.provide(Readiness.layer),
    Effect.provide(logsLayer({ format: "auto", level: process.env["MILLRACE_LOG_LEVEL"] === undefined ? "Error" : process.env["MILLRACE_LOG_LEVEL"] as "Info", fields: {} }))
  ))
  let asked = false
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (asked) process.exit(130)
      asked = true
      say("\nStopping; press Ctrl-C again to leave at once.")
      Effect.runFork(Fiber.interrupt(fiber))
    })
  }
  fiber.addObserver((exit) => {
    if (Exit.isSuccess(exit) || asked) process.exit(0)
    process.stderr.write(`\nIt could not start: ${reasonOf(exit.cause)}\n`)
    process.exit(1)
  })
}

function reasonOf(cause: Cause.Cause<unknown>): string {
  return wordsOf(Cause.squash(cause))
}

/** Errors of the API say what, where and one remedy; others have a message, and if not, at least a name. */
function wordsOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error)
  const { message, name, remedy, what } = error as { readonly [field in "message" | "name" | "remedy" | "what"]?: unknown }
  if (typeof what === "string") return `${what}${typeof remedy === "string" ? `; ${remedy}` : ""}`
  return typeof message === "string" && message !== "" ? message : String(name ?? error)
}
