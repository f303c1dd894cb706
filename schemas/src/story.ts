import type { Schema } from "effect"

/** The schema of one fact: a tagged struct that needs no services, so that it decodes anywhere. */
export type FactSchema = Schema.Codec<{ readonly _tag: string }, any, never, never> & {
  readonly fields: { readonly _tag: unknown }
}

/** One released shape of one fact. A shape that has been said stays readable forever. */
export interface FactShape {
  readonly name: string
  readonly version: number
  readonly schema: FactSchema
}

/** Who must hear a kind of story. It is permission and routing at once, and never changes during a story. */
export type Scope = "workspace" | "host" | "cell" | "provider" | "point" | "service"

/** Streams, one for each writing service. The scheduler's is the order of the cell. */
export const streamNames = ["GATEWAY", "SCHEDULER", "HOSTS", "BROKER", "SNAPSHOTS", "ACCESS", "METERING"] as const
export type StreamName = (typeof streamNames)[number]

/**
 * One kind of story: its subject is `mill.<kind>.<scope>`, and `.<story>` behind it where `story` says
 * so. Only kinds whose stories are guarded one by one carry an id there, because every subject costs
 * the server memory (about 350 bytes).
 */
export interface Kind<Facts extends ReadonlyArray<FactSchema> = ReadonlyArray<FactSchema>> {
  readonly kind: string
  readonly scope: Scope
  /** The one scope token there is, for kinds that belong to the cell or to one service. */
  readonly only?: string
  /** What the last token names, for kinds that are guarded per story. */
  readonly story?: string
  /** The stream that holds it, and so the one service that writes it. */
  readonly stream: StreamName
  readonly facts: Facts
}

/** Declares a kind of story from the schemas of its facts. */
export const kind = <const K extends Omit<Kind, "facts">, const Facts extends ReadonlyArray<FactSchema>>(
  declared: K,
  ...facts: Facts
): K & Kind<Facts> => ({ ...declared, facts })

/** The name a fact is known by: its tag. */
export const nameOf = (schema: FactSchema): string =>
  (schema.fields._tag as { readonly schema: { readonly literal: string } }).schema.literal
