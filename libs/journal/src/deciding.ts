import { deriveId } from "@millrace/decider"
import type { Cut, FactId, GrantId, HostId, MillFact, Principal, StreamName, Subject } from "@millrace/schemas"
import { Result, Schema } from "effect"
import { type Commit, type Fact, isOfHosts, type NewFact, readable, type StoredCommit } from "./commit.ts"

/** A host that was silent for longer than its lease, in ms of the listener's clock. */
export interface Silence {
  readonly hostId: HostId
  readonly lastHeardAtMs: number
  readonly leaseEndedAtMs: number
}

/** When and on what ground a round of decisions is made. Everything that influences it is here or folded. */
export interface Round {
  readonly atMs: number
  readonly epoch: number
  readonly saw: Cut
  /**
   * Who is silent, in the order of the hosts' ids. They are in no stream: the round that acts upon one says
   * `HostDeclaredLost` with its times, and a replay finds it there. One that leads to no such fact leads to
   * nothing at all.
   */
  readonly silences: ReadonlyArray<Silence>
}

/** What a round says on one subject: one commit. Neighbours with the same `together` are stored together or not at all. */
export interface Said {
  readonly together?: number
  readonly subject: Subject
  readonly facts: readonly [SaidFact, ...ReadonlyArray<SaidFact>]
}

/** One fact of a round, before it has an id. */
export interface SaidFact {
  readonly event: MillFact
  readonly partOf: FactId
  readonly causedBy?: FactId
  readonly grant?: GrantId
  readonly mustUnderstand?: boolean
}

/**
 * A decider over several streams at once, which owns the order of one of them.
 *
 * Laws, which the simulator and `replay --verify` check:
 * - `evolve` is told what has happened and cannot refuse;
 * - facts of different streams commute: streams order nothing between them;
 * - `decide` changes nothing, and says the same for the same state and round.
 */
export interface StreamDecider<State> {
  readonly name: string
  /** Raised when the same facts would fold to another state or lead to another decision. */
  readonly codeVersion: string
  readonly actor: Principal
  readonly writes: StreamName
  /** In the order in which facts of one round are folded. */
  readonly hears: ReadonlyArray<StreamName>
  readonly initial: () => State
  /** May change the state in place. */
  readonly evolve: (state: State, fact: Fact) => State
  /** A fact of this scope cannot be read: decide nothing more there until somebody has looked. */
  readonly freeze: (state: State, commit: StoredCommit) => State
  readonly decide: (state: State, round: Round) => ReadonlyArray<Said>
  /** When time alone would change the next decision. */
  readonly dueAtMs?: (state: State) => number | undefined
  /** The state as plain values in a canonical order, and back. */
  readonly save: (state: State) => unknown
  /** The same for a checkpoint, where `save` would be long: lists in any order, as iterables that are made while they are written. */
  readonly saveLong?: (state: State) => unknown
  readonly load: (saved: never) => State
}

/** The silences that a round acted upon, as its facts tell them. */
export const silencesIn = (commits: ReadonlyArray<StoredCommit>): ReadonlyArray<Silence> =>
  commits.flatMap(({ facts }) => facts.flatMap(({ event }) =>
    Result.isSuccess(event) && event.success._tag === "HostDeclaredLost"
      ? [{ hostId: event.success.hostId, lastHeardAtMs: event.success.lastHeardAtMs, leaseEndedAtMs: event.success.leaseEndedAtMs }]
      : []))

/** The log holds something that this program is too old to decide upon. */
export class MustStepDown extends Schema.TaggedError<MustStepDown>()("MustStepDown", {
  decider: Schema.String,
  stream: Schema.String,
  sequence: Schema.Int,
  factName: Schema.String
}) {
  override get message() {
    return `${this.decider} must not decide any more: ${this.factName} at ${this.stream} ${this.sequence} must be understood, and this program does not know it. Run a newer Millrace`
  }
}

/** Folds one commit. Unknown facts are passed over, and so is what a host says in a service's words; what is known and yet unreadable freezes its scope. */
export const foldCommit = <State>(decider: StreamDecider<State>, state: State, commit: StoredCommit): State => {
  const { facts, unreadable } = readable(commit)
  let next = state
  for (const { name, reason } of unreadable) {
    // No host says what services must know: one alone would end every decider of the cell.
    if (commit.mustUnderstand && !isOfHosts(commit)) {
      throw new MustStepDown({ decider: decider.name, stream: commit.place.stream, sequence: commit.place.sequence, factName: name })
    }
    if (reason.reason !== "no such fact is known here") next = decider.freeze(next, commit)
  }
  for (const fact of facts) next = decider.evolve(next, fact)
  return next
}

/**
 * The commits of a round. Ids derive from the cause, the decider, the place within the round, and the
 * own stream's last sequence: a decision that is made again on another ground has another id.
 */
export const commitsOf = <State>(decider: StreamDecider<State>, round: Round, said: ReadonlyArray<Said>): ReadonlyArray<Commit> =>
  said.map(({ facts, subject, together }, ordinal): Commit => ({
    ...(together === undefined ? {} : { together }),
    subject,
    actor: decider.actor,
    happenedAtMs: round.atMs,
    decided: { saw: round.saw, decidedAtMs: round.atMs, ordinal, of: said.length },
    facts: facts.map((fact, index): NewFact => ({
      ...fact,
      id: deriveId<FactId>("fct", round.atMs, fact.causedBy ?? fact.partOf, decider.name, ordinal, index, round.epoch, round.saw[decider.writes] ?? 0)
    })) as unknown as Commit["facts"]
  }))

/** A commit as it will lie in the log if its prediction comes true: so that it is folded at once. */
export const foreseen = (commit: Commit, stream: string, sequence: number, epoch: number): StoredCommit => ({
  place: { stream, sequence, prev: sequence - 1, epoch, storedAtMs: commit.happenedAtMs },
  subject: commit.subject,
  actor: commit.actor,
  happenedAtMs: commit.happenedAtMs,
  mustUnderstand: commit.facts.some(({ mustUnderstand }) => mustUnderstand === true),
  ...(commit.decided === undefined ? {} : { decided: commit.decided }),
  facts: commit.facts.map(({ causedBy, event, grant, id, partOf }, ordinal) => ({
    id,
    name: event._tag,
    version: 0,
    event: Result.succeed(event),
    partOf,
    ordinal,
    ...(causedBy === undefined ? {} : { causedBy }),
    ...(grant === undefined ? {} : { grant })
  }))
})
