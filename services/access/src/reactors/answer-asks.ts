import { decisionMade } from "@millrace/authority"
import { type Fact, Journal, readable, type StoredCommit } from "@millrace/journal"
import type { AccountId, Cut, Digest, Principal, WorkspaceName } from "@millrace/schemas"
import { traced } from "@millrace/service"
import { Effect } from "effect"
import { hash } from "node:crypto"
import { type AccessAsk, type Answer, answer, isAccessAsk } from "../domain/asks.ts"
import { because, Register } from "./register.ts"

const actor = "service:access" as Principal

/**
 * Answers what people ask of access: each ask by exactly one fact. Delivered at least once; an ask that was
 * answered before a crash is found in the register, and nothing is added. A refusal of the gate is written
 * down before the answer: whoever dies between finds it, and says only the answer.
 */
export const answerAsks = Effect.gen(function*() {
  const journal = yield* Journal
  return yield* journal.react({ stream: "GATEWAY", durable: "access-asks", filter: "mill.ask.*" }, (commit) =>
    traced("answerAsks", commit, Effect.forEach(readable(commit).facts, (fact) =>
      isAccessAsk(fact.event) ? answered(fact, fact.event, commit) : Effect.void, { discard: true })))
})

const answered = Effect.fnUntraced(function*(fact: Fact, ask: AccessAsk, commit: StoredCommit) {
  const { say } = yield* Register
  const account = "account" in ask ? ask.account : undefined
  const ground = { askedAtMs: commit.place.storedAtMs, accountKnown: account === undefined || (yield* isOf(ask.workspace, account)) }
  yield* say((registry, atMs) => {
    if (registry.judged.has(fact.id)) return undefined
    const told = answer(registry, ask, { ...ground, atMs })
    return told?.denied === undefined ? undefined : {
      subject: { kind: "decision", scope: "access" },
      actor: ask.askedBy,
      facts: [{ event: judgement(ask, told.denied, { [commit.place.stream]: commit.place.sequence, ACCESS: registry.sequence }, atMs), ...because(fact) }]
    }
  })
  yield* say((registry, atMs) => {
    const told = answer(registry, ask, { ...ground, atMs })
    return told === undefined ? undefined : { subject: told.subject, actor, facts: [{ event: told.fact, ...because(fact) }] }
  })
})

/** Whether an account was opened in a workspace, as the log of money says. */
const isOf = (workspace: WorkspaceName, account: AccountId) =>
  Journal.use((journal) => Effect.map(journal.last({ kind: "budget", scope: workspace, story: account }), (last) => last !== undefined))

/** Decided on all that access has said, so its view has no age. */
const judgement = (ask: AccessAsk, { ask: asked, decision }: NonNullable<Answer["denied"]>, view: Cut, decidedAtMs: number) =>
  decisionMade({
    point: "access", ask: asked, decision, decidedAtMs, viewAgeMs: 0,
    argumentsDigest: `sha256:${hash("sha256", `${ask._tag} ${ask.askId}`, "hex")}` as Digest,
    view
  })
