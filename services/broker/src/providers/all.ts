import type { ProviderLimits, ProviderName } from "@millrace/schemas"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { FetchHttpClient } from "effect/http"
import { readFile } from "node:fs/promises"
import { withBillsIn } from "./bill-folder.ts"
import { coreWeaveEntry } from "./coreweave.ts"
import { ec2Entry } from "./ec2.ts"
import { entryFields, type Opening } from "./entry.ts"
import { lambdaEntry } from "./lambda.ts"
import type { Provider } from "./provider.ts"
import { vastEntry } from "./vast.ts"

/** The clouds that a broker buys from, by name. */
export class Providers extends Context.Service<Providers, ReadonlyMap<ProviderName, Provider>>()("millrace/broker/Providers") {}

/** A provider cannot be reached as configured. */
export class ProviderUnusable extends Schema.TaggedError<ProviderUnusable>()("ProviderUnusable", { provider: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The provider ${this.provider} cannot be used: ${this.detail}. Mend its entry in the file that MILLRACE_PROVIDERS names`
  }
}

/** One line a cloud: the name of what an entry `speaks`, and how it is opened. */
const clouds = {
  lambda: lambdaEntry,
  vast: vastEntry,
  ec2: ec2Entry,
  coreweave: coreWeaveEntry
}
type Clouds = typeof clouds

/** One provider as the file of MILLRACE_PROVIDERS names it. */
export type ProviderSettings = { readonly [Name in keyof Clouds]: { readonly speaks: Name } & Schema.Struct.Type<typeof entryFields> & Schema.Struct.Type<Clouds[Name]["fields"]> }[keyof Clouds]

export const ProviderSettings = Schema.Union(Object.entries(clouds).map(([speaks, { fields }]) =>
  Schema.Struct({ speaks: Schema.Literal(speaks), ...entryFields, ...fields }))) as unknown as Schema.Codec<ProviderSettings>

export const ProviderFile = Schema.Struct({ providers: Schema.Array(ProviderSettings) })

/** What bounds the choice among them, by the same settings: quotas, shares, and what is reserved. */
export const limitsIn = (settings: ReadonlyArray<ProviderSettings>): { readonly limits?: ReadonlyArray<ProviderLimits> } => {
  const limits = settings.flatMap(({ name, quotas, reserved, sharePermilleMax }): ReadonlyArray<ProviderLimits> =>
    quotas === undefined && reserved === undefined && sharePermilleMax === undefined ? [] : [{
      provider: name as ProviderName,
      ...(quotas === undefined ? {} : { quotas }),
      ...(sharePermilleMax === undefined ? {} : { sharePermilleMax }),
      ...(reserved === undefined ? {} : { reserved })
    }])
  return limits.length === 0 ? {} : { limits }
}

const textIn = (provider: string, path: string): Effect.Effect<string, ProviderUnusable> =>
  Effect.tryPromise({ try: () => readFile(path, "utf8"), catch: () => new ProviderUnusable({ provider, detail: `its key file ${path} cannot be read` }) })

const openOne = Effect.fnUntraced(function*(settings: ProviderSettings) {
  const { bills, endpoint, everyMs, keyFile, name, speaks, visibleWithinMs } = settings
  if (!/^[a-z][a-z0-9-]{0,39}$/u.test(name)) return yield* new ProviderUnusable({ provider: name, detail: "a name is lower-case letters, digits and dashes" })
  const key = Redacted.make((yield* textIn(name, keyFile)).trim())
  const can = {
    ...(everyMs === undefined ? {} : { requestsEvery: { anyMs: everyMs.any, createMs: everyMs.create } }),
    ...(visibleWithinMs === undefined ? {} : { visibleWithinMs })
  }
  // The settings are of the cloud that they speak: the file was read so.
  const { open } = clouds[speaks] as Opening<Record<never, never>>
  const opened = yield* Effect.mapError(open({ name: name as ProviderName, endpoint, keyFile, key, can }, settings), (detail) => new ProviderUnusable({ provider: name, detail }))
  return withBillsIn(bills, opened)
})

/** Opens each provider of the settings with the key of its file. */
export const providersLayer = (settings: ReadonlyArray<ProviderSettings>): Layer.Layer<Providers, ProviderUnusable> =>
  Layer.effect(Providers, Effect.map(Effect.forEach(settings, openOne), (opened) => new Map(opened.map((provider) => [provider.name, provider]))))
    .pipe(Layer.provide(FetchHttpClient.layer))
