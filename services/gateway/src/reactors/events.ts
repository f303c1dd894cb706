import { Blobs } from "@millrace/blobs"
import { deriveId, namedId } from "@millrace/decider"
import { type CommitRefused, cutOf, Journal, type JournalUnavailable, readable } from "@millrace/journal"
import { type BlobRef, type Cut, type EventReceived, type FactId, filterOf, hook, type HookOpened, type TriggerName, type WorkspaceName } from "@millrace/schemas"
import { type Caller, Keyring, type KeyringUnavailable, openValue, sealValue, supervise } from "@millrace/service"
import { Clock, Context, Effect, Layer, Option, Redacted, Schema } from "effect"
import { hash, randomBytes } from "node:crypto"
import type { CloudEvent } from "../domain/cloud-event.ts"
import { digestOf } from "../domain/request.ts"
import { Gate, type NotAllowed, type RefusalUntold, type ViewStale } from "./gate.ts"
import { secretFrom, SignatureRefused, verifySignature } from "./signature.ts"

/** There is no such hook, or its secret is forgotten. */
export class HookUnknown extends Schema.TaggedError<HookUnknown>()("HookUnknown", {}) {}

/** The data of an event could not be stored. */
export class EventUnstored extends Schema.TaggedError<EventUnstored>()("EventUnstored", { detail: Schema.String }) {}

export interface Told {
  /** The event's name in the log. */
  readonly event: string
  readonly cut: Cut
  /** Whether it had been told before. */
  readonly repeated: boolean
}

type Unsaid = CommitRefused | JournalUnavailable
type NotLet = NotAllowed | ViewStale | RefusalUntold

/** Data beyond this many characters lies in the blob store, as every large field of a fact. */
const dataCharsInFactMax = 16 * 1024

/** Signs for no hook: known to this process alone, for as long as it lives. */
const nobodysSecret = randomBytes(32)

const Secret = Schema.String
const seal = sealValue(Secret)
const open = openValue(Secret)

/** Events from outside, and the hooks through which strangers may tell them when they sign. */
export class Events extends Context.Service<Events, {
  /** Writes an event down, once for each source and id, however often it is told. */
  readonly tell: (caller: Caller["Service"], event: CloudEvent) => Effect.Effect<Told, NotLet | Unsaid | EventUnstored>
  /** Opens a hook, or replaces its secret. */
  readonly open: (caller: Caller["Service"], name: TriggerName, secret: Redacted.Redacted<string>) => Effect.Effect<Cut, NotLet | Unsaid | KeyringUnavailable>
  readonly close: (caller: Caller["Service"], name: TriggerName) => Effect.Effect<Cut, NotLet | Unsaid | HookUnknown>
  /** Who speaks through a hook, if the request bears its signature. That there is no such hook is told to nobody. */
  readonly speaker: (
    workspace: WorkspaceName,
    name: TriggerName,
    headers: Readonly<Record<string, string | undefined>>,
    body: Uint8Array
  ) => Effect.Effect<Caller["Service"], SignatureRefused | KeyringUnavailable>
}>()("millrace/gateway/Events") {
  static readonly layer: Layer.Layer<Events, never, Blobs | Gate | Journal | Keyring> = Layer.effect(Events, Effect.gen(function*() {
    const blobs = yield* Blobs
    const gate = yield* Gate
    const journal = yield* Journal
    const keyring = yield* Keyring
    const hooks = new Map<string, HookOpened>()
    const key = (workspace: WorkspaceName, name: TriggerName) => `${workspace}/hook/${name}`
    let heardUpTo = 0

    const follow = Effect.scoped(Effect.gen(function*() {
      const reader = yield* journal.read("GATEWAY", { after: heardUpTo, filter: filterOf(hook) })
      return yield* Effect.forever(Effect.map(reader.take, (commits) => {
        for (const commit of commits) {
          for (const { event } of readable(commit).facts) {
            if (event._tag === "HookOpened") hooks.set(key(event.workspace, event.hook), event)
            else if (event._tag === "HookClosed") hooks.delete(key(event.workspace, event.hook))
          }
          heardUpTo = commit.place.sequence
        }
      }))
    }))
    yield* Effect.forkScoped(supervise(follow, { name: "gateway.hooks" }))

    const say = (event: Extract<Parameters<typeof journal.append>[0]["facts"][number]["event"], { _tag: "HookOpened" | "HookClosed" }>, actor: Caller["Service"]["principal"]) =>
      Effect.gen(function*() {
        const subject = { kind: "hook", scope: event.workspace }
        const sequence = (yield* journal.last(subject))?.place.sequence ?? 0
        const happenedAtMs = yield* Clock.currentTimeMillis
        const id = deriveId<FactId>("fct", happenedAtMs, event.workspace, event.hook, event._tag, sequence)
        return cutOf(yield* journal.append({ subject, actor, happenedAtMs, facts: [{ id, partOf: id, event }] }, { last: "subject", sequence }))
      }).pipe(
        Effect.retry({ times: 20, while: (error) => error._tag === "Overtaken" }),
        Effect.catchTag("Overtaken", (error) => Effect.die(error))
      )

    const bodyOf = Effect.fnUntraced(function*({ data }: CloudEvent): Effect.fn.Return<{ readonly json?: string; readonly blob?: BlobRef }, EventUnstored> {
      if (data === undefined) return {}
      if (data.length <= dataCharsInFactMax) return { json: data }
      return { blob: yield* Effect.mapError(blobs.putBytes(Buffer.from(data)), (error) => new EventUnstored({ detail: error._tag })) }
    })

    return {
      tell: Effect.fnUntraced(function*(caller, event) {
        const { workspace } = caller
        const acting = yield* gate.pass(caller, { action: "event.tell", within: ["event", hash("sha256", event.source, "hex").slice(0, 32)], argumentsDigest: digestOf(event) })
        const subject = { kind: "event", scope: workspace, story: namedId("evt", event.source, event.id) }
        const happenedAtMs = yield* Clock.currentTimeMillis
        const said: EventReceived = {
          _tag: "EventReceived",
          workspace,
          source: event.source,
          eventId: event.id,
          eventType: event.type,
          ...(event.subject === undefined ? {} : { subject: event.subject }),
          ...(event.timeAtMs === undefined ? {} : { timeAtMs: event.timeAtMs }),
          ...(yield* bodyOf(event)),
          tellsFor: caller.principal,
          ...(acting.grant === undefined ? {} : { grant: acting.grant }),
          decision: acting.decision
        }
        const id = deriveId<FactId>("fct", happenedAtMs, workspace, "event", event.source, event.id)
        return yield* journal.append({ subject, actor: caller.principal, happenedAtMs, facts: [{ id, partOf: id, event: said }] }, { last: "subject", sequence: 0 }).pipe(
          Effect.map((appended): Told => ({ event: subject.story, cut: cutOf(appended), repeated: false })),
          Effect.catchTag("Overtaken", ({ actual }) => Effect.succeed<Told>({ event: subject.story, cut: { GATEWAY: actual }, repeated: true }))
        )
      }),
      open: Effect.fnUntraced(function*(caller, name, secret) {
        const { principal, workspace } = caller
        const acting = yield* gate.pass(caller, { action: "trigger.define", within: ["hook", name], argumentsDigest: digestOf({ hook: name }) })
        const sealed = yield* Effect.provideService(seal(workspace, Redacted.value(secret), key(workspace, name)), Keyring, keyring)
        const opened: HookOpened = {
          _tag: "HookOpened",
          workspace,
          hook: name,
          proof: sealed,
          tellsFor: principal,
          ...(acting.grant === undefined ? {} : { grant: acting.grant }),
          decision: acting.decision
        }
        return yield* say(opened, principal)
      }),
      close: Effect.fnUntraced(function*(caller, name) {
        const { principal, workspace } = caller
        const acting = yield* gate.pass(caller, { action: "trigger.define", within: ["hook", name], argumentsDigest: digestOf({ close: name }) })
        if (!hooks.has(key(workspace, name))) return yield* new HookUnknown()
        return yield* say({ _tag: "HookClosed", workspace, hook: name, closedBy: principal, decision: acting.decision }, principal)
      }),
      speaker: Effect.fnUntraced(function*(workspace, name, headers, body) {
        const opened = hooks.get(key(workspace, name))
        // Strangers ask: a hook that there is not is refused as one whose secret they do not know.
        const secret = opened === undefined ? undefined : yield* Effect.provideService(open(opened.proof, key(workspace, name)), Keyring, keyring).pipe(
          Effect.map(secretFrom),
          Effect.catch((error) => error._tag === "KeyringUnavailable" ? Effect.fail(error) : Effect.succeed(undefined))
        )
        const refused = verifySignature(secret ?? nobodysSecret, headers, body, yield* Clock.currentTimeMillis)
        if (Option.isSome(refused)) return yield* refused.value
        if (opened === undefined || secret === undefined) return yield* new SignatureRefused({ why: "nobody signs here" })
        return { principal: opened.tellsFor, workspace, ...(opened.grant === undefined ? {} : { grant: opened.grant }) }
      })
    }
  }))
}
