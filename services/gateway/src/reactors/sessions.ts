import { deriveId } from "@millrace/decider"
import { Journal } from "@millrace/journal"
import type { FactId, SessionClosed, SessionId, SessionOpened } from "@millrace/schemas"
import { Clock, Effect, Random } from "effect"
import { sayOn } from "./say-on.ts"

/** How long the log may take to confirm a word about a session, in ms. */
const sayMsMax = 10_000

/** An id that no other session has. */
export const newSessionId = Effect.gen(function*() {
  const atMs = yield* Clock.currentTimeMillis
  return deriveId<SessionId>("ses", atMs, yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER), yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER))
})

const idOf = (atMs: number, sessionId: SessionId, what: string): FactId => deriveId<FactId>("fct", atMs, sessionId, what)

/** Says that somebody reaches into work, before any byte flows. A gateway that falls after it leaves a session that ends with its warrant. */
export const tellOpened = (opened: Omit<SessionOpened, "_tag">) =>
  sayOn({
    subject: { kind: "session", scope: opened.workspace },
    actor: opened.openedBy,
    event: { _tag: "SessionOpened", ...opened },
    idBehind: () => idOf(opened.expiresAtMs, opened.sessionId, "opened")
  }).pipe(Effect.timeout(sayMsMax))

/** Says that no byte of it flows any more. A log that is silent now does not hold up the end: the session ended with its warrant at the latest. */
export const tellClosed = (opened: Omit<SessionOpened, "_tag">, closed: Pick<SessionClosed, "outBytes" | "cause">): Effect.Effect<void, never, Journal> =>
  sayOn({
    subject: { kind: "session", scope: opened.workspace },
    actor: opened.openedBy,
    event: { _tag: "SessionClosed", sessionId: opened.sessionId, workspace: opened.workspace, jobId: opened.jobId, inBytes: 0, ...closed },
    idBehind: () => idOf(opened.expiresAtMs, opened.sessionId, "closed")
  }).pipe(
    Effect.timeout(sayMsMax),
    Effect.catch((error) => Effect.logWarning(`The end of ${opened.sessionId} could not be written down: ${error.message}`))
  )
