import { ProviderLimits, type ProviderName } from "@millrace/schemas"
import { type Effect, type Redacted, Schema, type Scope } from "effect"
import type { HttpClient } from "effect/http"
import type { Capabilities, Provider } from "./provider.ts"

/** What every entry in the file of MILLRACE_PROVIDERS says, whatever cloud it is. The key itself lies in a file of its own. */
export const entryFields = {
  name: Schema.String,
  endpoint: Schema.NonEmptyString,
  keyFile: Schema.NonEmptyString,
  /** Other limits than those of the vendor's documents, in ms. */
  everyMs: Schema.optionalKey(Schema.Struct({ any: Schema.Int, create: Schema.Int })),
  visibleWithinMs: Schema.optionalKey(Schema.Int),
  /** What it lets our account have at most, its share of all GPUs in thousandths at most, and what is paid for there, used or not. */
  quotas: ProviderLimits.fields.quotas,
  sharePermilleMax: ProviderLimits.fields.sharePermilleMax,
  reserved: ProviderLimits.fields.reserved,
  /** A folder of bills as CSV, where the provider itself cannot be asked for them. */
  bills: Schema.optionalKey(Schema.NonEmptyString)
}

/** An entry, with its key read. */
export interface Entry {
  readonly name: ProviderName
  readonly endpoint: string
  readonly keyFile: string
  readonly key: Redacted.Redacted
  readonly can: Partial<Pick<Capabilities, "requestsEvery" | "visibleWithinMs">>
}

/** How a cloud is opened: what its entry says besides, and what is made of it. It fails with what is wrong with the entry. */
export interface Opening<Fields extends Schema.Struct.Fields> {
  readonly fields: Fields
  readonly open: (entry: Entry, more: Schema.Struct.Type<Fields>) => Effect.Effect<Provider, string, HttpClient.HttpClient | Scope.Scope>
}

/** A cloud's own part of its entry, and how a provider is made of it. */
export const opening = <Fields extends Schema.Struct.Fields>(fields: Fields, open: Opening<Fields>["open"]): Opening<Fields> => ({ fields, open })
