import { Effect } from "effect"
import type { Config } from "effect"
import { ExitCode } from "./exit-code.ts"
import { describe } from "./settings.ts"

/** The page that `--help` prints: every setting, as the `Config` itself describes it, and the exit codes. */
export const helpText = (name: string, config: Config.Config<unknown>): Effect.Effect<string> =>
  Effect.map(describe(config), (settings) => [
    `${name}: settings come from the environment, then from the file that MILLRACE_CONFIG names.`,
    "",
    table(settings.map(({ initially, name: setting, purpose, wants }) => [setting, purpose, `${wants}${initially === undefined ? " (must be set)" : `; default: ${initially}`}`])),
    "",
    "Exit codes:",
    table(Object.entries(ExitCode).map(([word, code]) => [`  ${code}`, MEANINGS[word as keyof typeof ExitCode]])),
    ""
  ].join("\n"))

const MEANINGS: { readonly [Word in keyof typeof ExitCode]: string } = {
  stopped: "it was asked to stop, and gave everything back",
  unavailable: "it could not start, or something it needs said no",
  bug: "a bug; the cause is in the log once",
  stoppedLate: "it was asked to stop, and something did not let go in time",
  settings: "the settings are wrong",
  insisted: "it was told twice to stop"
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n")
}
