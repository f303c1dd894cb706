/**
 * What `npm test` runs once the machine is ready: the type check, then every test. Further arguments
 * go to vitest: `npm test -- infra/postgres`. The last line counts the tests as vitest reported them.
 */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { tally } from "./tally.ts"

const root = resolve(import.meta.dirname, "../../..")
const TYPE_CHECK_MS_MAX = 5 * 60_000
const TESTS_MS_MAX = 60 * 60_000

interface Stage {
  readonly name: string
  readonly program: string
  readonly args: ReadonlyArray<string>
  readonly limitMs: number
}

/** Runs one stage with our own input and output, shows how long it took, and tells whether it went well. */
const stage = ({ args, limitMs, name, program }: Stage) =>
  new Promise<boolean>((settle) => {
    const startedAt = performance.now()
    const child = spawn(process.execPath, [join(root, "node_modules", program), ...args], { cwd: root, stdio: "inherit", timeout: limitMs })
    const stop = () => child.kill("SIGTERM")
    process.once("SIGTERM", stop)
    child.on("close", (code, signal) => {
      process.off("SIGTERM", stop)
      const how = code === 0 ? "passed" : `failed (${signal ?? `status ${code}`})`
      console.log(`${name}: ${how} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
      settle(code === 0)
    })
  })

const typeCheck = (project: string) => stage({ name: `type check of ${project}`, program: "typescript/bin/tsc", args: ["--noEmit", "-p", project], limitMs: TYPE_CHECK_MS_MAX })

const folder = mkdtempSync(join(tmpdir(), "millrace-test-"))
const report = join(folder, "report.json")
try {
  // The bootstrap is JavaScript, so that an old Node can run it; its types are checked by its own project.
  const typed = [await typeCheck("."), await typeCheck("infra/bootstrap")]
  const tested = await stage({
    name: "tests",
    program: "vitest/vitest.mjs",
    args: ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...process.argv.slice(2)],
    limitMs: TESTS_MS_MAX
  })
  // Whoever ended it, or a limit of time, left no report: what was shown by then is all that is known.
  if (!existsSync(report)) throw new Error("the tests were cut off before their end, so this run has failed. Run a part of them, such as: npm test -- services/gateway")
  const { failed, passed, skipped } = tally(JSON.parse(readFileSync(report, "utf8")))
  if (skipped > 0) console.log(`${skipped} tests did not run: a skipped test is no test, so this run has failed.`)
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = typed.every(Boolean) && tested && failed === 0 && skipped === 0 && passed > 0 ? 0 : 1
} catch (cause) {
  console.error(cause instanceof Error ? cause.message : String(cause))
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
