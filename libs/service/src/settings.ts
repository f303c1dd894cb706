import { Config, ConfigProvider, Context, Duration, Effect, Redacted, Schema } from "effect"
import { withoutCredentials } from "./credential.ts"
import type { SettingsSource } from "./settings-source.ts"

/** One setting as the table of `--help` shows it. `initially` is absent where a value must be given. */
export interface Described {
  readonly name: string
  readonly purpose: string
  readonly wants: string
  readonly initially?: string
  readonly secret: boolean
  /** Reads this setting alone. */
  readonly config: Config.Config<unknown>
}

/** The settings that were given are not the settings that are wanted. One sentence a fault. */
export class SettingsWrong extends Schema.TaggedError<SettingsWrong>()("SettingsWrong", {
  faults: Schema.Array(Schema.String)
}) {
  override get message() {
    return this.faults.join("\n")
  }
}

export interface SettingOptions<A> {
  /** What it decides, as half a sentence: "where the log is". */
  readonly purpose: string
  /** What a value looks like: "a port number from 1 to 65535". */
  readonly wants: string
  /** How it is read: `Config.Port`, `Config.Redacted`, `(name) => Config.schema(Seconds, name)`. */
  readonly read: (name: string) => Config.Config<A>
}

interface Defaulted<A, D> extends SettingOptions<A> {
  readonly default: D
}

/**
 * A `Config` of one environment variable that can also say what it is for, so that `--help` and the
 * sentence about a wrong value come from the same place as the value. Composes like every `Config`.
 * Without a default, a value must be given.
 */
export function setting<A, const D>(name: string, options: Defaulted<A, D>): Config.Config<A | D>
export function setting<A>(name: string, options: SettingOptions<A>): Config.Config<A>
export function setting(name: string, options: SettingOptions<unknown> | Defaulted<unknown, unknown>): Config.Config<unknown> {
  const leaf = options.read(name)
  const described: Described = {
    name,
    purpose: options.purpose,
    wants: options.wants,
    secret: options.read === Config.Redacted || SECRET_NAME.test(name),
    config: leaf,
    ...("default" in options ? { initially: shown(options.default) } : {})
  }
  const whole = "default" in options ? Config.withDefault(leaf, options.default) : leaf
  return Config.succeed(undefined).pipe(
    Config.mapEffect(() => Effect.map(Descriptions, (list) => void list?.push(described))),
    Config.flatMap(() => whole)
  )
}

/** Whatever reads it: a value under such a name is never quoted. */
const SECRET_NAME = /PASSWORD|PASSPHRASE|SECRET|TOKEN|_KEY$|SEED/u

/** Where settings that are being read note their descriptions. */
const Descriptions = Context.Reference<Array<Described> | undefined>("millrace/SettingDescriptions", {
  defaultValue: () => undefined
})

const shown = (value: unknown): string =>
  value === undefined ? "none" : Redacted.isRedacted(value) ? "not shown" : Duration.isDuration(value) ? Duration.format(value) : String(value)

/**
 * Every setting that a `Config` reads, found by reading it from an empty source: described ones with
 * their words, others by name. A setting that is only read when another has a value is not found.
 */
export const describe = (config: Config.Config<unknown>): Effect.Effect<ReadonlyArray<Described>> =>
  Effect.suspend(() => {
    const described: Array<Described> = []
    const read = new Set<string>()
    const empty = ConfigProvider.make((path) => Effect.sync(() => void read.add(path.join("_"))))
    return Effect.exit(config.parse(empty)).pipe(
      Effect.provideService(Descriptions, described),
      Effect.map(() => {
        const known = new Set(described.map(({ name }) => name))
        const bare = [...read].filter((name) => name !== "" && !known.has(name))
        const unique = described.filter(({ name }, at) => described.findIndex((other) => other.name === name) === at)
        return [...unique, ...bare.map((name) => ({ name, purpose: "", wants: "a value", secret: false, config: Config.String(name) }))]
      })
    )
  })

/** Reads all settings, or says everything that is wrong with them at once. */
export const readSettings = <A>(config: Config.Config<A>, source: SettingsSource): Effect.Effect<A, SettingsWrong> =>
  config.parse(source.provider).pipe(
    Effect.catchTag("ConfigError", (error) =>
      Effect.flatMap(faults(config, source), (found) =>
        Effect.fail(new SettingsWrong({ faults: found.length > 0 ? found : [error.message] }))))
  )

const faults = (config: Config.Config<unknown>, source: SettingsSource) =>
  Effect.gen(function*() {
    const found: Array<string> = []
    for (const described of yield* describe(config)) {
      const given = yield* source.given(described.name)
      if (given === undefined) {
        if (described.initially === undefined && described.purpose !== "") found.push(missing(described))
        continue
      }
      const exit = yield* Effect.exit(described.config.parse(source.provider))
      if (exit._tag === "Failure") found.push(wrong(described, given))
    }
    return found
  })

const missing = ({ name, purpose, wants }: Described): string =>
  `${name} (${purpose}) is not set; it wants ${wants}. Set it in the environment, or in the file that MILLRACE_CONFIG names.`

const wrong = ({ initially, name, secret, wants }: Described, given: { readonly value: string; readonly where: string }): string =>
  `${name} is ${secret ? `${given.value.length} characters that are not shown` : JSON.stringify(withoutCredentials(given.value))} (from ${given.where}); it wants ${wants}. ` +
  (initially === undefined ? "Give it such a value." : `Give it such a value, or unset it for the default: ${initially}.`)
