import type { JobId, JobSpec, JobSubmitted } from "@millrace/schemas"
import type { Placed } from "./world.ts"

/** Values that are kept once: of more, all are forgotten and met anew. What was handed out before stays as it is. */
const valuesMax = 8_192
const values = new Map<string, unknown>()
const texts = new Map<string, unknown>()

/**
 * One value for all that say the same: of a million jobs most want what others want. Who is handed it must not change
 * it, as with every fact.
 */
export const once = <A>(value: A): A => {
  if (value === undefined) return value
  return typeof value === "string" ? kept(texts, value, value) : kept(values, JSON.stringify(value), value)
}

const kept = <A>(known: Map<string, unknown>, key: string, value: A): A => {
  const same = known.get(key)
  if (same !== undefined) return same as A
  if (known.size >= valuesMax) known.clear()
  known.set(key, value)
  return value
}

/** A text of its own: one that was cut out of a message would hold all of the message in memory. */
export const own = <Text extends string>(text: Text): Text => Buffer.from(text).toString() as Text

/**
 * A submission as it is kept for as long as its job is: what others say too is shared with them.
 */
export const lean = (fact: JobSubmitted, jobId: JobId): JobSubmitted => ({
  ...fact,
  jobId,
  workspace: once(fact.workspace),
  submittedBy: once(fact.submittedBy),
  spec: leanSpec(fact.spec),
  requestDigest: own(fact.requestDigest),
  decision: once(fact.decision)
})

/** An attempt as it is kept for as long as it runs. */
export const leanPlaced = (placed: Placed): Placed => ({
  ...placed,
  workspace: once(placed.workspace),
  fence: once(placed.fence),
  resources: once(placed.resources),
  gpuModel: once(placed.gpuModel),
  gpus: once(placed.gpus),
  grantPath: once(placed.grantPath)
})

const leanSpec = ({ program, ...terms }: JobSpec): JobSpec =>
  program === undefined ? once(terms) : { ...once(terms), program: { key: once(program.key), nonce: own(program.nonce), sealed: own(program.sealed) } }
