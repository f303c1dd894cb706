import { JobSubmitted } from "./job.ts"
import type { FactSchema } from "./story.ts"

/** An older shape of a fact, and how it reads today. Pure: the same bytes mean the same forever. */
export interface Upcast<Old extends FactSchema = FactSchema> {
  readonly schema: Old
  readonly upcast: (old: Old["Type"]) => { readonly _tag: string }
  /**
   * Whether a program that knows no newer shape does right by this fact, and so is told it in this one. Only
   * what such a program would misjudge is written in a newer shape: it cannot read that, freezes the fact's
   * scope and says so, where a field that it does not know would be ignored without a word. Without it the
   * shape is only read.
   */
  readonly suffices?: (fact: Old["Type"]) => boolean
}

/**
 * A job as the first release knew it: one program, no sooner and no later than there is room, on any host, by
 * the token's own rights. It placed whatever it could read, passed on none of the fields that came after it,
 * and counted against no grant.
 */
const plain = ({ grant, spec: { after, array, deadline, dialect, egress, gang, gpu, idleMsMax, priority, queueMsMax, reads, resources: { gpuMilli }, snapshotAtEnd, startFrom, startMsMax, where } }: JobSubmitted): boolean =>
  [grant, after, array, deadline, dialect, egress, gang, gpu, gpuMilli, idleMsMax, priority, queueMsMax, reads, snapshotAtEnd, startFrom, startMsMax, where].every((said) => said === undefined)

const jobSubmitted: Upcast<typeof JobSubmitted> = { schema: JobSubmitted, upcast: (same) => same, suffices: plain }

/** Older shapes by fact name, oldest first: the first is version 1. Append-only. */
export const upcasts: Readonly<Record<string, ReadonlyArray<Upcast<any>>>> = { JobSubmitted: [jobSubmitted] }
