import { type CommitRefused, crashPoint, Journal, type JournalUnavailable } from "@millrace/journal"
import { Admission, type AdmissionFailed, type HostCredentials, isSignedBy } from "@millrace/journal/admission"
import type { Digest, HostId, Principal, WorkspaceName } from "@millrace/schemas"
import { Clock, Context, Effect, Layer, Result } from "effect"
import { hash } from "node:crypto"
import { AdmissionDecider, type AdmissionCommand, HostUnknown, hostIdOf, type KeyRefused } from "../domain/admission.ts"
import { Register } from "./register.ts"

/** A host's credentials, and which host it is. */
export interface Admitted extends HostCredentials {
  readonly hostId: HostId
  /** The journal's: a host may not ask the log about its streams. */
  readonly epoch: number
}

type Unclear = CommitRefused | JournalUnavailable | AdmissionFailed

const subject = { kind: "admission", scope: "cell" }
const actor = "service:access" as Principal
/** How old a request for renewal may be, in ms. */
const askMsMax = 60_000

/** Who may speak as a host. The log is told first; then consumers and credentials are made, which may be repeated. */
export class Admissions extends Context.Service<Admissions, {
  /** One host may enrol with this key until it expires. Opening it again adds nothing. */
  readonly open: (key: { readonly digest: Digest; readonly workspace: WorkspaceName; readonly openedBy: Principal; readonly expiresAtMs: number }) => Effect.Effect<void, Unclear | KeyRefused | HostUnknown>
  /** Admits a host. If the answer is lost it asks again with the same keys, and is answered again. */
  readonly enrol: (oneTimeKey: string, publicKey: string) => Effect.Effect<Admitted, Unclear | KeyRefused | HostUnknown>
  /** New credentials for a host that proves, by its signature over `atMs`, that it holds its key. */
  readonly renew: (publicKey: string, atMs: number, signature: string) => Effect.Effect<Admitted, Unclear | HostUnknown>
  /** Lets a host speak no more. */
  readonly dismiss: (hostId: HostId, dismissedBy: Principal, cause: string) => Effect.Effect<void, Unclear | KeyRefused | HostUnknown>
}>()("millrace/access/Admissions") {
  static readonly layer: Layer.Layer<Admissions, never, Journal | Admission | Register> = Layer.effect(Admissions, Effect.gen(function*() {
    const admission = yield* Admission
    const { epoch } = yield* Journal
    const { registry, say } = yield* Register
    const { roster } = registry

    const tell = Effect.fnUntraced(function*(command: AdmissionCommand) {
      let refusal: KeyRefused | HostUnknown | undefined
      yield* say(({ roster }) => {
        const decided = AdmissionDecider.decide(roster, command)
        refusal = Result.isFailure(decided) ? decided.failure : undefined
        return Result.isFailure(decided) ? undefined : { subject, actor, facts: decided.success.map((event) => ({ event })) }
      })
      if (refusal !== undefined) return yield* Effect.fail(refusal)
    })

    const hostOf = Effect.fnUntraced(function*(publicKey: string) {
      const hostId = hostIdOf(publicKey)
      return roster.hosts.get(hostId)?.dismissed === false ? hostId : yield* new HostUnknown()
    })

    return {
      open: ({ digest, expiresAtMs, openedBy, workspace }) => tell({ _tag: "Open", workspace, oneTimeKeyDigest: digest, openedBy, expiresAtMs }),
      enrol: Effect.fnUntraced(function*(oneTimeKey, publicKey) {
        const atMs = yield* Clock.currentTimeMillis
        yield* tell({ _tag: "Enrol", oneTimeKeyDigest: digestOfKey(oneTimeKey), publicKey, atMs })
        const hostId = yield* hostOf(publicKey)
        const credentials = yield* admission.admitHost({ hostId, publicKey })
        yield* crashPoint("admit host answered")
        return { hostId, epoch, ...credentials }
      }),
      renew: Effect.fnUntraced(function*(publicKey, atMs, signature) {
        const hostId = yield* hostOf(publicKey)
        const nowMs = yield* Clock.currentTimeMillis
        if (Math.abs(nowMs - atMs) > askMsMax || !isSignedBy("user", publicKey, renewalText(publicKey, atMs), Buffer.from(signature, "base64url"))) return yield* new HostUnknown()
        return { hostId, epoch, ...yield* admission.renewHost({ hostId, publicKey }) }
      }),
      dismiss: Effect.fnUntraced(function*(hostId, dismissedBy, cause) {
        yield* tell({ _tag: "Dismiss", hostId, dismissedBy, cause })
        const host = roster.hosts.get(hostId)
        if (host !== undefined) yield* admission.dismissHost({ hostId, publicKey: host.publicKey })
      })
    }
  }))
}

/** The form in which the log knows a one-time key. */
export const digestOfKey = (oneTimeKey: string): Digest => `sha256:${hash("sha256", oneTimeKey, "hex")}` as Digest

/** What a host signs to prove that it holds its key. */
export const renewalText = (publicKey: string, atMs: number): string => `millrace renew ${publicKey} ${atMs}`
