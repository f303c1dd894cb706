import type { ProviderName } from "@millrace/schemas"
import { Context, Effect, Layer, Redacted, Schema, type Scope } from "effect"
import { FetchHttpClient, type HttpClient } from "effect/http"
import { readFile } from "node:fs/promises"
import { coreWeave } from "./coreweave.ts"
import { CoreWeaveSettings } from "./coreweave-words.ts"
import { ec2 } from "./ec2.ts"
import { awsCredentialsIn, ec2PricesIn } from "./ec2-files.ts"
import { Ec2Settings } from "./ec2-words.ts"
import { lambda } from "./lambda.ts"
import type { Capabilities, Provider } from "./provider.ts"
import { vast } from "./vast.ts"

/** The clouds that a broker buys from, by name. */
export class Providers extends Context.Service<Providers, ReadonlyMap<ProviderName, Provider>>()("millrace/broker/Providers") {}

/** One provider as the file of MILLRACE_PROVIDERS names it. The key itself lies in a file of its own. */
export const ProviderSettings = Schema.Struct({
  name: Schema.String,
  /** Which cloud's API it speaks. */
  speaks: Schema.Literals(["lambda", "vast", "ec2", "coreweave"]),
  endpoint: Schema.NonEmptyString,
  keyFile: Schema.NonEmptyString,
  sshKey: Schema.optionalKey(Schema.NonEmptyString),
  /** What its machines start with, where the vendor sells no images of ours: of a virtual machine, and of a container. */
  images: Schema.optionalKey(Schema.Struct({ machine: Schema.NonEmptyString, container: Schema.NonEmptyString })),
  ec2: Schema.optionalKey(Ec2Settings),
  coreweave: Schema.optionalKey(CoreWeaveSettings),
  /** Other limits than those of the vendor's documents, in ms. */
  everyMs: Schema.optionalKey(Schema.Struct({ any: Schema.Int, create: Schema.Int })),
  visibleWithinMs: Schema.optionalKey(Schema.Int)
})
export type ProviderSettings = typeof ProviderSettings.Type

export const ProviderFile = Schema.Struct({ providers: Schema.Array(ProviderSettings) })

/** A provider cannot be reached as configured. */
export class ProviderUnusable extends Schema.TaggedError<ProviderUnusable>()("ProviderUnusable", { provider: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The provider ${this.provider} cannot be used: ${this.detail}. Mend its entry in the file that MILLRACE_PROVIDERS names`
  }
}

type Adapter = (settings: ProviderSettings, apiKey: Redacted.Redacted) => Effect.Effect<Provider, ProviderUnusable, HttpClient.HttpClient | Scope.Scope>

const canOf = ({ everyMs, visibleWithinMs }: ProviderSettings): Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">> => ({
  ...(everyMs === undefined ? {} : { requestsEvery: { anyMs: everyMs.any, createMs: everyMs.create } }),
  ...(visibleWithinMs === undefined ? {} : { visibleWithinMs })
})

const textIn = (provider: string, what: string, path: string): Effect.Effect<string, ProviderUnusable> =>
  Effect.tryPromise({ try: () => readFile(path, "utf8"), catch: () => new ProviderUnusable({ provider, detail: `its ${what} ${path} cannot be read` }) })

/** One line a cloud. */
const adapters: Readonly<Record<ProviderSettings["speaks"], Adapter>> = {
  lambda: (settings, apiKey) =>
    lambda({ name: settings.name as ProviderName, endpoint: settings.endpoint, apiKey, sshKey: settings.sshKey ?? "millrace", can: canOf(settings) }),
  vast: (settings, apiKey) =>
    settings.images === undefined
      ? Effect.fail(new ProviderUnusable({ provider: settings.name, detail: "it needs `images`, a machine's and a container's with our agent" }))
      : vast({ name: settings.name as ProviderName, endpoint: settings.endpoint, apiKey, images: settings.images, can: canOf(settings) }),
  ec2: ({ ec2: settings, ...rest }) =>
    settings === undefined
      ? Effect.fail(new ProviderUnusable({ provider: rest.name, detail: "it needs `ec2`, with the regions and an image with our agent" }))
      : ec2PricesIn(settings.priceFile).pipe(
        Effect.mapError((detail) => new ProviderUnusable({ provider: rest.name, detail })),
        Effect.flatMap((prices) => ec2({ name: rest.name as ProviderName, endpoint: rest.endpoint, credentials: awsCredentialsIn(rest.keyFile, settings.profile), settings, prices, can: canOf(rest) }))
      ),
  coreweave: ({ coreweave: settings, endpoint, name, ...rest }, apiKey) =>
    settings === undefined
      ? Effect.fail(new ProviderUnusable({ provider: name, detail: "it needs `coreweave`, with the cluster's region and an image with our agent" }))
      : Effect.flatMap(settings.caFile === undefined ? Effect.succeed({}) : Effect.map(textIn(name, "certificate file", settings.caFile), (ca) => ({ ca })), (trust) =>
        coreWeave({ name: name as ProviderName, endpoint, apiKey, settings, can: canOf({ endpoint, name, ...rest }), ...trust }))
}

/** Opens each provider of the settings with the key of its file. */
export const providersLayer = (settings: ReadonlyArray<ProviderSettings>): Layer.Layer<Providers, ProviderUnusable> =>
  Layer.effect(Providers, Effect.map(
    Effect.forEach(settings, (one) => Effect.gen(function*() {
      if (!/^[a-z][a-z0-9-]{0,39}$/u.test(one.name)) return yield* new ProviderUnusable({ provider: one.name, detail: "a name is lower-case letters, digits and dashes" })
      const key = yield* textIn(one.name, "key file", one.keyFile)
      return yield* adapters[one.speaks](one, Redacted.make(key.trim()))
    })),
    (opened) => new Map(opened.map((provider) => [provider.name, provider]))
  )).pipe(Layer.provide(FetchHttpClient.layer))
