import type { NatsConnection } from "@nats-io/transport-node"
import { Clock, Effect, Semaphore } from "effect"
import { hostsClaims, type Revocations } from "./accounts.ts"
import { AdmissionFailed } from "./admission-failed.ts"
import { claimsIn, signClaims } from "./jwt.ts"
import type { SigningKey } from "./nkey.ts"

const ANSWER_MS_MAX = 5_000
const doing = "Revoking a host's key"

export interface RevokingTerms {
  /** A connection in the system's account. */
  readonly system: NatsConnection
  readonly operator: SigningKey
  /** The hosts' account. */
  readonly account: string
  /** No user JWT lives longer, so a revocation older than this says nothing any more. */
  readonly userLifeSMax: number
}

/**
 * Revokes users of the hosts' account by putting its newest claims, with more revocations, before the
 * servers. They end the users' connections at once and refuse them from then on; each server keeps the
 * claims on disk. What is asked while one update is under way goes into the next one together, because an
 * update costs the server time for each connected host (0.1 s at 1,000). Two processes at a time could
 * each overlook the other's revocations: one process dismisses, as one access decides.
 */
export const makeRevoke = Effect.fnUntraced(function*({ account, operator, system, userLifeSMax }: RevokingTerms) {
  const turn = yield* Semaphore.make(1)
  // What this process has revoked, in case a server that lags behind is the one to answer.
  const own = new Map<string, number>()
  const waiting = new Set<string>()

  const ask = (subject: string, body: string) =>
    Effect.tryPromise({
      try: async () => (await system.request(subject, body, { timeout: ANSWER_MS_MAX })).string(),
      catch: (cause) => new AdmissionFailed({ reason: "not_answered", doing, detail: String(cause) })
    })

  const update = Effect.fnUntraced(function*(publicKeys: ReadonlyArray<string>) {
    const jwt = yield* ask(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, "")
    if (!jwt.startsWith("ey")) return yield* new AdmissionFailed({ reason: "not_configured", doing, detail: "the servers do not know the hosts' account" })
    const claims = claimsIn(jwt)
    const nowS = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    for (const key of publicKeys) own.set(key, nowS)
    const revocations = recent({ ...revocationsIn(claims.nats), ...Object.fromEntries(own) }, nowS - userLifeSMax)
    for (const key of own.keys()) if (revocations[key] === undefined) own.delete(key)
    const next = hostsClaims({
      publicKey: account,
      cell: cellIn(claims.nats),
      signingKeys: claims.nats["signing_keys"] as ReadonlyArray<string>,
      // A server keeps the claims issued last; of two issued in one second, a restart would bring back the first.
      issuedAtS: Math.max(nowS, claims.iat + 1),
      revocations
    })
    const answer = yield* ask(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.UPDATE`, signClaims(next, operator))
    if (!/"code":\s*200/.test(answer)) return yield* new AdmissionFailed({ reason: "not_configured", doing, detail: answer.slice(0, 300) })
  })

  return (publicKey: string) =>
    Effect.suspend(() => {
      waiting.add(publicKey)
      return turn.withPermits(1)(Effect.suspend(() => {
        // Whoever was first took this one along.
        if (!waiting.has(publicKey)) return Effect.void
        const together = [...waiting]
        waiting.clear()
        return Effect.onError(update(together), () => Effect.sync(() => together.forEach((key) => waiting.add(key))))
      }))
    })
})

const revocationsIn = (nats: Readonly<Record<string, unknown>>) => (nats["revocations"] ?? {}) as Revocations

const cellIn = (nats: Readonly<Record<string, unknown>>) =>
  (nats["imports"] as ReadonlyArray<{ readonly account: string }>)[0]!.account

const recent = (revocations: Revocations, sinceS: number): Revocations =>
  Object.fromEntries(Object.entries(revocations).filter(([, atS]) => atS >= sinceS))
