import type { FactSchema } from "./story.ts"

/** An older shape of a fact, and how it reads today. Pure: the same bytes mean the same forever. */
export interface Upcast<Old extends FactSchema = FactSchema> {
  readonly schema: Old
  readonly upcast: (old: Old["Type"]) => { readonly _tag: string }
}

/** Older shapes by fact name, oldest first: the first is version 1. Append-only. */
export const upcasts: Readonly<Record<string, ReadonlyArray<Upcast>>> = {}
