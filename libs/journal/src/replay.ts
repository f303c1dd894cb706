import type { Cut } from "@millrace/schemas"
import { Effect, type Scope } from "effect"
import { type Commit, readable, type StoredCommit } from "./commit.ts"
import { commitsOf, foldCommit, silencesIn, type StreamDecider } from "./deciding.ts"
import { Journal, type JournalUnavailable, type Reader } from "./journal.ts"

/** A decision in the log that the same code, on the same facts, does not make. */
export interface Mismatch {
  readonly stream: string
  readonly sequence: number
  readonly decidedAtMs: number
  readonly saw: Cut
  readonly logged: unknown
  readonly replayed: unknown
}

export interface Verdict {
  readonly decisions: number
  readonly commits: number
  readonly facts: number
  /** Decisions by code of another version, as whoever took over said. They are taken as they are: this code would make others. */
  readonly byOtherCode: number
  /** The first few, in the order of the log. None: every decision follows from what it had seen. */
  readonly mismatches: ReadonlyArray<Mismatch>
}

export interface VerifyOptions {
  /** Takes away what is no part of a decision, such as a signature. Applied to both sides. */
  readonly comparable?: (fact: unknown) => unknown
  readonly mismatchesMax?: number
  readonly progress?: (commits: number, of: number) => void
}

/**
 * Makes every decision of a log again, in a process that knows nothing but the log: folds each stream up
 * to what the decision saw, decides, and demands the same commits under the same ids. A round whose last
 * commits are missing is whole only if its writer was overtaken there, or the log ends there.
 */
export const verify = <State>(
  decider: StreamDecider<State>,
  { comparable = (fact) => fact, mismatchesMax = 10, progress }: VerifyOptions = {}
): Effect.Effect<Verdict, JournalUnavailable, Journal> =>
  Effect.scoped(Effect.gen(function*() {
    const journal = yield* Journal
    const head = yield* journal.head(decider.writes)
    const own = yield* cursor(decider.writes, head)
    const others = new Map<string, Cursor>()
    for (const stream of decider.hears) others.set(stream, yield* cursor(stream, yield* journal.head(stream)))

    let state = decider.initial()
    let decisions = 0
    let facts = 0
    let commits = 0
    let byOtherCode = 0
    let code: string | undefined
    const mismatches: Array<Mismatch> = []
    let commit = yield* own.next
    while (commit !== undefined && mismatches.length < mismatchesMax) {
      if (commit.decided === undefined) {
        code = codeIn(commit) ?? code
        state = foldCommit(decider, state, commit)
        commits += 1
        commit = yield* own.next
        continue
      }
      const { decidedAtMs, saw } = commit.decided
      for (const stream of decider.hears) {
        for (const heard of yield* others.get(stream)!.upTo(saw[stream] ?? 0)) state = foldCommit(decider, state, heard)
      }
      const { epoch } = commit.place
      const group: Array<StoredCommit> = []
      while (commit?.decided !== undefined && commit.decided.decidedAtMs === decidedAtMs && commit.decided.ordinal === group.length && sameCut(commit.decided.saw, saw)) {
        group.push(commit)
        commit = yield* own.next
      }
      if (code !== undefined && code !== decider.codeVersion && group.length > 0) {
        for (const logged of group) {
          state = foldCommit(decider, state, logged)
          facts += logged.facts.length
        }
        byOtherCode += 1
        commits += group.length
        progress?.(commits, head)
        continue
      }
      const round = { atMs: decidedAtMs, epoch, saw, silences: silencesIn(group) }
      const expected = commitsOf(decider, round, decider.decide(state, round))
      decisions += 1
      const whole = group.length === (group[0]?.decided?.of ?? 0) || commit === undefined || commit.decided === undefined
      for (const [index, logged] of group.entries()) {
        const wanted = expected[index]
        const replayed = wanted === undefined ? undefined : said(wanted, comparable)
        const found = kept(logged, comparable)
        if (JSON.stringify(found) !== JSON.stringify(replayed) || (index === 0 && !whole) || logged.decided?.of !== expected.length) {
          mismatches.push({ stream: decider.writes, sequence: logged.place.sequence, decidedAtMs, saw, logged: found, replayed })
        }
        state = foldCommit(decider, state, logged)
        facts += logged.facts.length
      }
      if (group.length === 0) {
        mismatches.push({ stream: decider.writes, sequence: commit?.place.sequence ?? 0, decidedAtMs, saw, logged: commit?.decided, replayed: "a round begins with its first commit" })
        break
      }
      commits += group.length
      progress?.(commits, head)
    }
    return { decisions, commits, facts, byOtherCode, mismatches }
  }))

/** Which code decides from here on, where a commit says so. */
const codeIn = (commit: StoredCommit): string | undefined =>
  readable(commit).facts.flatMap(({ event }) => ("codeVersion" in event ? [event.codeVersion] : [])).at(-1)

interface Cursor {
  readonly next: Effect.Effect<StoredCommit | undefined, JournalUnavailable>
  readonly upTo: (sequence: number) => Effect.Effect<ReadonlyArray<StoredCommit>, JournalUnavailable>
}

/** Reads a stream commit by commit, up to a head that was looked up before. */
const cursor = Effect.fnUntraced(function*(stream: string, head: number): Effect.fn.Return<Cursor, JournalUnavailable, Journal | Scope.Scope> {
  const journal = yield* Journal
  const reader: Reader = yield* journal.read(stream as never, { after: 0 })
  let held: ReadonlyArray<StoredCommit> = []
  let at = 0
  let position = 0
  const peek = Effect.gen(function*() {
    while (at >= held.length) {
      if (position >= head) return undefined
      held = yield* reader.take
      at = 0
      position = held.at(-1)?.place.sequence ?? position
    }
    const commit = held[at]
    return commit === undefined || commit.place.sequence > head ? undefined : commit
  })
  const next = Effect.tap(peek, () => Effect.sync(() => void (at += 1)))
  const upTo = (sequence: number) => Effect.gen(function*() {
    const commits: Array<StoredCommit> = []
    for (let commit = yield* peek; commit !== undefined && commit.place.sequence <= sequence; commit = yield* peek) {
      commits.push(commit)
      at += 1
    }
    return commits
  })
  return { next, upTo }
})

const sameCut = (left: Cut, right: Cut): boolean =>
  Object.keys(left).length === Object.keys(right).length && Object.entries(left).every(([stream, sequence]) => right[stream] === sequence)

const plain = (value: unknown): unknown =>
  typeof value === "bigint" ? value.toString()
    : Array.isArray(value) ? value.map(plain)
    : typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, plain(field)]))
    : value

const said = (commit: Commit, comparable: (fact: unknown) => unknown): unknown =>
  plain({
    subject: commit.subject,
    facts: commit.facts.map(({ causedBy, event, grant, id, partOf }) => ({ id, partOf, causedBy, grant, event: comparable(event) }))
  })

const kept = (commit: StoredCommit, comparable: (fact: unknown) => unknown): unknown =>
  plain({
    subject: commit.subject,
    facts: readable(commit).facts.map(({ causedBy, event, grant, id, partOf }) => ({ id, partOf, causedBy, grant, event: comparable(event) }))
  })
