import { type ActionName, actionOf, type Decision, decisionMade, type Needs, resourceOf } from "@millrace/authority"
import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import type { Allowed, AttemptId, DecisionMade, Digest, FactId, GrantId, JobId, MissingCapability, Principal, WorkspaceName } from "@millrace/schemas"
import { askOf, Authority, type Caller, type Decided, speaks, VIEW_AGE_MS_MAX } from "@millrace/service"
import { Context, Effect, Layer, Schema } from "effect"
import { sayOn } from "./say-on.ts"

/** Who may do it, where, and by which rule: what a fact that follows from it carries. */
export interface Acting {
  readonly principal: Principal
  readonly workspace: WorkspaceName
  readonly grant?: GrantId
  readonly decision: Allowed
  /** The attempt whose program asks, over its host's local socket. */
  readonly parent?: { readonly jobId: JobId; readonly attemptId: AttemptId }
}

/** What somebody wants to do. */
export interface Asked {
  readonly action: ActionName
  /** To what, below the workspace, from the outside in; empty for the workspace itself. */
  readonly within: ReadonlyArray<string>
  readonly grant?: GrantId
  readonly needs?: Needs
  /** SHA-256 of exactly what was asked. */
  readonly argumentsDigest: Digest
  /** In whose sandbox, or about which job. */
  readonly jobId?: JobId
}

/** A no by a rule of the gateway's own, and what would have been needed where a capability could cure it. */
export interface Refusal {
  readonly rule: string
  readonly missing?: Omit<MissingCapability, "action" | "resource">
}

/** It may not be done. The audit knows it already. */
export class NotAllowed extends Schema.TaggedError<NotAllowed>()("NotAllowed", {
  principal: Schema.String,
  workspace: Schema.String,
  action: Schema.String,
  rule: Schema.String,
  reason: Schema.String,
  missing: Schema.optionalKey(Schema.Unknown)
}) {
  get capability(): MissingCapability | undefined {
    return this.missing as MissingCapability | undefined
  }
}

/** Who may do what is not known well enough right now, so nothing may be done. */
export class ViewStale extends Schema.TaggedError<ViewStale>()("ViewStale", { ageMs: Schema.Int }) {}

/** The refusal could not be written down, so it is not answered as one. */
export class RefusalUntold extends Schema.TaggedError<RefusalUntold>()("RefusalUntold", {}) {}

/** How often it is looked whether what lasts may go on, in ms. */
const lookMs = 1_000
/** How long a refusal waits to be written down, in ms. */
const tellMsMax = 10_000

/** The one place of the gateway where somebody is let through or not. */
export class Gate extends Context.Service<Gate, {
  /** Decides now. A no is in the log before it is answered. */
  readonly pass: (caller: Caller["Service"], asked: Asked) => Effect.Effect<Acting, NotAllowed | ViewStale | RefusalUntold>
  /**
   * Waits until what was let through would be let through no more: its token or warrant is over, or what allowed
   * it was taken back. Not knowing ends nothing that has begun. For what lasts longer than a moment.
   */
  readonly takenBack: (caller: Caller["Service"], asked: Asked) => Effect.Effect<void>
  /** Says no by a rule of the gateway's own. */
  readonly refuse: (caller: Caller["Service"], asked: Asked, refusal: Refusal) => Effect.Effect<never, NotAllowed | RefusalUntold>
}>()("millrace/gateway/Gate") {
  static readonly layer = ({ viewAgeMsMax = VIEW_AGE_MS_MAX }: { readonly viewAgeMsMax?: number } = {}): Layer.Layer<Gate, never, Authority | Journal> =>
    Layer.effect(Gate, Effect.gen(function*() {
      const authority = yield* Authority
      const journal = yield* Journal

      const tell = (decided: Decided, { argumentsDigest, jobId }: Asked) => {
        const event = decisionMade({ point: "gateway", argumentsDigest, ...decided, ...(jobId === undefined ? {} : { jobId }) })
        return sayDecision(event).pipe(Effect.provideService(Journal, journal), Effect.timeout(tellMsMax), Effect.mapError(() => new RefusalUntold()))
      }
      const refused = ({ ask, decision }: Decided) =>
        new NotAllowed({
          principal: ask.principal,
          workspace: ask.workspace,
          action: ask.action,
          rule: decision.rule,
          reason: decision.reason,
          ...(decision.missing === undefined ? {} : { missing: decision.missing })
        })

      const askedBy = (caller: Caller["Service"], { action, grant, needs, within }: Asked) =>
        askOf(caller, {
          action,
          resource: resourceOf(caller.workspace, ...within),
          ...(grant === undefined ? {} : { grant }),
          ...(needs === undefined ? {} : { needs })
        })

      const pass = Effect.fnUntraced(function*(caller: Caller["Service"], asked: Asked) {
        const ask = askedBy(caller, asked)
        const decided = yield* authority.decide(ask, viewAgeMsMax)
        if (decided.decision.verdict === "allow") {
          return {
            principal: caller.principal,
            workspace: caller.workspace,
            ...(ask.grant === undefined ? {} : { grant: ask.grant }),
            decision: { rule: decided.decision.rule, view: decided.view },
            ...(caller.parent === undefined ? {} : { parent: caller.parent })
          } satisfies Acting
        }
        if (decided.decision.reason === "stale_view") {
          // A log that does not answer takes no word of it either; that nothing was allowed stays true.
          yield* Effect.ignore(Effect.timeout(tell(decided, asked), 1_000))
          return yield* new ViewStale({ ageMs: decided.viewAgeMs })
        }
        yield* tell(decided, asked)
        return yield* refused(decided)
      })

      const refuse = Effect.fnUntraced(function*(caller: Caller["Service"], asked: Asked, { missing, rule }: Refusal) {
        const ask = askOf(caller, { action: asked.action, resource: resourceOf(caller.workspace, ...asked.within), ...(asked.grant === undefined ? {} : { grant: asked.grant }) })
        const decision: Decision = missing === undefined
          ? { verdict: "deny", rule, reason: "guard_rail", grantPath: [] }
          : { verdict: "deny", rule, reason: "constraint", missing: { action: actionOf(asked.action), resource: ask.resource, ...missing }, grantPath: [] }
        const ageMs = yield* authority.ageMs
        const decided: Decided = { ask, decision, view: authority.cut(), viewAgeMs: ageMs, decidedAtMs: yield* Effect.clockWith((clock) => clock.currentTimeMillis) }
        yield* tell(decided, asked)
        return yield* refused(decided)
      })

      const mayStill = (caller: Caller["Service"], asked: Asked) =>
        Effect.gen(function*() {
          if (!speaks(authority.view, caller, yield* Effect.clockWith((clock) => clock.currentTimeMillis))) return false
          const { decision } = yield* authority.decide(askedBy(caller, asked), viewAgeMsMax)
          return decision.verdict === "allow" || decision.reason === "stale_view"
        })
      const takenBack = (caller: Caller["Service"], asked: Asked): Effect.Effect<void> =>
        Effect.asVoid(Effect.repeat(Effect.delay(mayStill(caller, asked), lookMs), { until: (may) => !may }))

      return { pass, refuse, takenBack }
    }))
}

/** Writes a decision of this gate down. */
const sayDecision = (event: DecisionMade) =>
  sayOn({
    subject: { kind: "decision", scope: "gateway" },
    actor: event.request.principal,
    event,
    idBehind: (sequence) => deriveId<FactId>("fct", event.decidedAtMs, event.request.principal, event.request.action, event.request.resource, event.request.argumentsDigest, sequence)
  })
