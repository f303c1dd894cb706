import { readFileSync } from "node:fs"
import { ConfigProvider, Effect } from "effect"
import { SettingsWrong } from "./settings.ts"

/** Where settings come from: the environment first, then the file that `MILLRACE_CONFIG` names. */
export interface SettingsSource {
  readonly provider: ConfigProvider.ConfigProvider
  /** The text given for a name, and where it stood. */
  readonly given: (name: string) => Effect.Effect<{ readonly value: string; readonly where: string } | undefined>
}

/** The variable that names a file of settings: JSON with one flat object, or lines of `NAME=value`. */
export const SETTINGS_FILE = "MILLRACE_CONFIG"

/** Opens the source over an environment. The file, if one is named, is read once, now. */
export const settingsSource = (
  env: Readonly<Record<string, string | undefined>>
): Effect.Effect<SettingsSource, SettingsWrong> =>
  Effect.gen(function*() {
    const first = { where: "the environment", provider: ConfigProvider.fromEnvRecord(env) }
    const path = env[SETTINGS_FILE]
    if (path === undefined || path === "") return over([first])
    const provider = yield* Effect.try({ try: () => parsed(readFileSync(path, "utf8")), catch: (cause) => unreadable(path, cause) })
    return over([first, { where: path, provider }])
  })

const parsed = (text: string): ConfigProvider.ConfigProvider =>
  text.trimStart().startsWith("{") ? ConfigProvider.fromUnknown(JSON.parse(text)) : ConfigProvider.fromDotEnvContents(text)

const unreadable = (path: string, cause: unknown) =>
  // A parser's message quotes what it read, and that may be a secret: only its name is told.
  new SettingsWrong({
    faults: [
      `${SETTINGS_FILE} names ${path}, which ${
        cause instanceof SyntaxError ? "begins like JSON and is not" : `cannot be read (${(cause as NodeJS.ErrnoException).code ?? "unknown"})`
      }; it wants a file with one JSON object or with lines of NAME=value. Name such a file, or unset it.`
    ]
  })

interface Layered {
  readonly where: string
  readonly provider: ConfigProvider.ConfigProvider
}

const over = (layers: readonly [Layered, ...ReadonlyArray<Layered>]): SettingsSource => ({
  provider: layers.slice(1).reduce((all, { provider }) => ConfigProvider.orElse(all, provider), layers[0].provider),
  given: (name) =>
    Effect.gen(function*() {
      for (const { provider, where } of layers) {
        const node = yield* Effect.option(provider.load([name]))
        if (node._tag === "Some" && node.value?.value !== undefined) return { value: node.value.value, where }
      }
      return undefined
    })
})
