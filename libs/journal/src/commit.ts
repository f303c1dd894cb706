import { type Cut, type Decided, type FactId, type FactUnreadable, type GrantId, isKnown, type Kind, kinds, type MillFact, nameOf, type Place, type Principal, type Subject } from "@millrace/schemas"
import { Result } from "effect"

/** A fact that is to be said. Its id is derived, so that saying it again says it under the same id. */
export interface NewFact<Fact extends MillFact = MillFact> {
  readonly id: FactId
  readonly event: Fact
  readonly partOf: FactId
  readonly causedBy?: FactId
  readonly grant?: GrantId
  /** An older decider must step down rather than ignore it. */
  readonly mustUnderstand?: boolean
}

/** W3C trace context, as it travels beside a commit (https://www.w3.org/TR/trace-context/). */
export interface Trace {
  readonly traceparent: string
  readonly tracestate?: string
}

/** One to n facts on one subject, stored together or not at all, with one fsync. */
export interface Commit {
  readonly subject: Subject
  readonly facts: readonly [NewFact, ...ReadonlyArray<NewFact>]
  readonly actor: Principal
  readonly happenedAtMs: number
  readonly decided?: Decided
  readonly trace?: Trace
  /** Commits of one round that name the same number here are stored together or not at all. No part of what is stored. */
  readonly together?: number
}

/**
 * What must come directly before a commit: the last sequence on its subject (0: the story is new), or the
 * last sequence of its whole stream.
 */
export type Expectation =
  | { readonly last: "subject"; readonly sequence: number }
  | { readonly last: "stream"; readonly sequence: number }

/** A fact as it lies in the log. `event` is a value either way: the reader decides what unreadable means. */
export interface StoredFact<Fact extends MillFact = MillFact> {
  readonly id: FactId
  readonly name: string
  readonly version: number
  readonly event: Result.Result<Fact, FactUnreadable>
  readonly partOf: FactId
  readonly causedBy?: FactId
  readonly grant?: GrantId
  /** Its place within the commit, from 0. */
  readonly ordinal: number
}

/** A commit as it lies in the log. */
export interface StoredCommit {
  readonly place: Place
  readonly subject: Subject
  readonly actor: Principal
  readonly happenedAtMs: number
  readonly mustUnderstand: boolean
  readonly decided?: Decided
  readonly trace?: Trace
  readonly facts: ReadonlyArray<StoredFact>
}

/** One readable fact with what surrounds it: what deciders, reactors and projections are handed. */
export interface Fact<F extends MillFact = MillFact> extends Omit<StoredFact<F>, "event"> {
  readonly event: F
  readonly commit: StoredCommit
}

/**
 * The facts of a commit that this program can read, and those that it cannot; of those names alone that `minds` says.
 * What a host says in the words of a service is in neither: it is nobody's word.
 */
export const readable = (commit: StoredCommit, minds: (name: string) => boolean = everyName): {
  readonly facts: ReadonlyArray<Fact>
  readonly unreadable: ReadonlyArray<StoredFact & { readonly reason: FactUnreadable }>
} => {
  const facts: Array<Fact> = []
  const unreadable: Array<StoredFact & { readonly reason: FactUnreadable }> = []
  const own = wordsOfHosts(commit.subject)
  for (const fact of commit.facts) {
    if (!minds(fact.name) || (own !== undefined && !own.has(fact.name) && isKnown(fact.name))) continue
    if (Result.isSuccess(fact.event)) facts.push({ ...fact, event: fact.event.success, commit })
    else unreadable.push({ ...fact, reason: fact.event.failure })
  }
  return { facts, unreadable }
}

const everyName = () => true

const hostKinds: ReadonlyMap<string, ReadonlySet<string>> = new Map((kinds as ReadonlyArray<Kind>)
  .filter(({ stream }) => stream === "HOSTS")
  .map(({ facts, kind, only }) => [`${kind} ${only ?? ""}`, new Set(facts.map(nameOf))]))

/**
 * The names of what hosts say on a subject, where it is one that hosts write; else undefined. The log lets a host
 * write on its own subjects, and cannot see what it writes there: a price, a limit or a verdict is not its to say.
 */
const wordsOfHosts = ({ kind, scope }: Subject): ReadonlySet<string> | undefined => hostKinds.get(`${kind} `) ?? hostKinds.get(`${kind} ${scope}`)

/** Whether hosts write there, whom nobody has to believe. */
export const isOfHosts = ({ subject }: Pick<StoredCommit, "subject">): boolean => wordsOfHosts(subject) !== undefined

/**
 * Whether whoever may write on a commit's subject says this of itself. The log lets a host write on its own
 * subjects alone, but not what it says there: a word about another host, or a decision of another point, is
 * nobody's. True of all that no host writes. That a host speaks of work which it was given is still to be seen
 * from the placement.
 */
export const speaksForItself = ({ subject: { kind, scope, story } }: Pick<StoredCommit, "subject">, event: MillFact): boolean => {
  switch (kind) {
    case "host":
    case "attempt":
      return "hostId" in event && event.hostId === scope
    case "decision":
      return scope !== "host" || ("point" in event && event.point === "host" && story !== undefined && (event._tag !== "DecisionMade" || event.hostId === story))
    default:
      return true
  }
}

/** Where a commit came to lie. */
export interface Appended {
  readonly stream: string
  readonly sequence: number
  readonly epoch: number
}

/** Whether a commit lies in the log as this one: all of its facts and no others. */
export const sameFacts = ({ facts }: Commit, stored: StoredCommit): boolean =>
  facts.length === stored.facts.length && facts.every(({ id }, ordinal) => stored.facts[ordinal]?.id === id)

/** The cut right behind an append: a read that waits for it sees the write. */
export const cutOf = ({ stream, sequence }: Appended): Cut => ({ [stream]: sequence })
