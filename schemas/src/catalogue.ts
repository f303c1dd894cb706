import { Result, Schema, SchemaAST } from "effect"
import { SchemaJITCompiler } from "effect/schema"
import { admission } from "./admission.ts"
import { answerAccess, answerMetering, answerScheduler, answerSnapshots } from "./answer.ts"
import { asideAccess, asideBroker, asideGateway, asideMetering, asideSnapshots } from "./aside.ts"
import { ask } from "./ask.ts"
import { attempt } from "./attempt.ts"
import { blob } from "./blob.ts"
import { budget, ledger } from "./budget.ts"
import { checkpoint } from "./checkpoint.ts"
import { decisionAccess, decisionGateway, decisionHost, decisionScheduler } from "./decision.ts"
import { demand, fleet } from "./fleet.ts"
import { grant } from "./grant.ts"
import { host } from "./host.ts"
import { job } from "./job.ts"
import { machine } from "./machine.ts"
import { brokerage, market, plan } from "./market.ts"
import { period } from "./period.ts"
import { placement } from "./placement.ts"
import { policy } from "./policy.ts"
import { pricebook } from "./pricebook.ts"
import { principal } from "./principal.ts"
import { quota } from "./quota.ts"
import { schedule } from "./schedule.ts"
import { session } from "./session.ts"
import { image, snapshot } from "./snapshot.ts"
import { type FactSchema, type Kind, nameOf } from "./story.ts"
import { event, hook, trigger } from "./trigger.ts"
import { upcasts } from "./upcasts.ts"
import { warrant } from "./warrant.ts"

/** Every kind of story there is. Streams, permissions, documents and readers are written from this list. */
export const kinds = [
  job,
  ask,
  session,
  blob,
  trigger,
  event,
  hook,
  decisionGateway,
  asideGateway,
  schedule,
  placement,
  fleet,
  demand,
  quota,
  answerScheduler,
  decisionScheduler,
  host,
  attempt,
  decisionHost,
  machine,
  market,
  plan,
  brokerage,
  asideBroker,
  snapshot,
  image,
  answerSnapshots,
  asideSnapshots,
  principal,
  policy,
  grant,
  warrant,
  admission,
  checkpoint,
  answerAccess,
  decisionAccess,
  asideAccess,
  budget,
  ledger,
  pricebook,
  period,
  answerMetering,
  asideMetering
] as const satisfies ReadonlyArray<Kind>

/** Any fact that Millrace knows, in its newest shape. */
export type MillFact = (typeof kinds)[number]["facts"][number]["Type"]

/** A fact that this program cannot read, and why. Its bytes stay where they are. */
export class FactUnreadable extends Schema.TaggedError<FactUnreadable>()("FactUnreadable", {
  name: Schema.String,
  version: Schema.Int,
  reason: Schema.String
}) {
  override get message() {
    return `The fact ${this.name}/${this.version} cannot be read: ${this.reason}. Run a newer Millrace, or look at it with: millrace events --raw`
  }
}

interface Codec {
  readonly version: number
  readonly decode: (body: unknown) => unknown
  readonly encode: (fact: unknown) => unknown
}

/** Compiled once, at load: seven times the speed of the interpreter, and the same errors. */
const codecOf = (schema: FactSchema, version: number): Codec => {
  SchemaJITCompiler.enable(schema.ast)
  SchemaJITCompiler.enable(SchemaAST.flip(schema.ast))
  return {
    version,
    decode: Schema.decodeUnknownSync(schema),
    encode: Schema.encodeUnknownSync(schema)
  }
}

const named = new Map<string, FactSchema>()
const newest = new Map<string, Codec>()
const older = new Map<string, Codec>()
/** Older shapes that are still written, oldest first. */
const stillWritten = new Map<string, ReadonlyArray<{ readonly codec: Codec; readonly suffices: (fact: never) => boolean }>>()
for (const { facts } of kinds) {
  for (const schema of facts) {
    const name = nameOf(schema)
    // Several kinds may tell one fact (each service's own asides); two facts of one name may not be.
    if (named.has(name)) {
      if (named.get(name) !== schema) throw new Error(`two facts are called ${name}: a name means one thing`)
      continue
    }
    named.set(name, schema)
    const past = upcasts[name] ?? []
    past.forEach(({ schema, suffices, upcast }, index) => {
      const codec = codecOf(schema, index + 1)
      older.set(`${name}/${index + 1}`, { ...codec, decode: (body) => upcast(codec.decode(body) as never) })
      if (suffices !== undefined) stillWritten.set(name, [...stillWritten.get(name) ?? [], { codec, suffices }])
    })
    newest.set(name, codecOf(schema, past.length + 1))
  }
}

/** Every fact's name, with the newest version that is written today. */
export const versions: ReadonlyMap<string, number> = new Map(
  [...newest].map(([name, { version }]) => [name, version])
)

/**
 * A fact's body as it is stored: without its tag, which is the header's. In the oldest shape whose readers do
 * right by it, so that programs of two releases live beside each other.
 */
export const encodeFact = (fact: MillFact): {
  readonly name: string
  readonly version: number
  readonly body: Record<string, unknown>
} => {
  const codec = stillWritten.get(fact._tag)?.find(({ suffices }) => suffices(fact as never))?.codec ?? newest.get(fact._tag)
  if (codec === undefined) throw new Error(`${fact._tag} is not in the catalogue: add its kind to schemas/src/catalogue.ts`)
  const { _tag: name, ...body } = codec.encode(fact) as { _tag: string } & Record<string, unknown>
  return { name, version: codec.version, body }
}

/**
 * Reads a stored body. An older shape comes out in the newest one. What is not known, or does not fit,
 * is a value: whoever reads decides whether to set it aside, to freeze or to go on.
 */
export const decodeFact = (name: string, version: number, body: unknown): Result.Result<MillFact, FactUnreadable> => {
  const codec = newest.get(name)
  if (codec === undefined) return unreadable(name, version, "no such fact is known here")
  const reader = version === codec.version ? codec : older.get(`${name}/${version}`)
  if (reader === undefined) return unreadable(name, version, `versions up to ${codec.version} are known here`)
  if (typeof body !== "object" || body === null) return unreadable(name, version, "its body is not a record")
  try {
    return Result.succeed(reader.decode({ ...body, _tag: name }) as MillFact)
  } catch (cause) {
    return unreadable(name, version, cause instanceof Error ? cause.message : String(cause))
  }
}

/** Whether this program has ever heard of a fact: unknown ones are ignored, unless they must be understood. */
export const isKnown = (name: string): boolean => newest.has(name)

const unreadable = (name: string, version: number, reason: string) =>
  Result.fail(new FactUnreadable({ name, version, reason }))
