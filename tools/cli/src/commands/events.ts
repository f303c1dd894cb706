import { Journal, type JournalUnavailable, type StoredCommit } from "@millrace/journal"
import { type Cut, type StreamName, streamNames } from "@millrace/schemas"
import { Effect, Option, Queue } from "effect"
import { Command, Flag } from "effect/cli"
import { parseCut, parseMoment } from "../cut.ts"
import { logFlags } from "../door.ts"
import { factsOf, factText, unreadableIn } from "../fact-line.ts"
import { heads, readingLog } from "../log.ts"
import { eachMerged } from "../merged.ts"
import { note, output, say, sayJson, telling } from "../print.ts"
import { Trouble } from "../trouble.ts"

const read = <A>(name: string, parse: (text: string) => A | undefined, wants: string) =>
  Flag.String(name).pipe(Flag.filterMap((text) => Option.fromUndefinedOr(parse(text)), (text) => `${JSON.stringify(text)} is not ${wants}`))

const flags = {
  stream: Flag.Literals("stream", streamNames).pipe(Flag.withDescription("one stream alone"), Flag.optional),
  after: read("after", parseCut, "a cut such as GATEWAY=12,SCHEDULER=40").pipe(
    Flag.withMetavar("cut"),
    Flag.withDescription("only what came behind this cut, such as GATEWAY=12,SCHEDULER=40"),
    Flag.withDefault({} as Cut)
  ),
  at: read("at", parseMoment, "a cut, or a time such as 2026-07-01T12:00:00Z").pipe(
    Flag.withMetavar("cut|time"),
    Flag.withDescription("the log as it was at a cut, or at a time such as 2026-07-01T12:00:00Z"),
    Flag.optional
  ),
  follow: Flag.Boolean("follow").pipe(Flag.withAlias("f"), Flag.withoutNegation, Flag.withDescription("go on with what is still to come, until Ctrl-C"), Flag.withDefault(false)),
  raw: Flag.Boolean("raw").pipe(Flag.withoutNegation, Flag.withDescription("each fact's whole body instead of a sentence"), Flag.withDefault(false)),
  output,
  ...logFlags
}
type Given = Command.Command.Config.Infer<typeof flags>

export const events = Command.make("events", flags, (given) =>
  telling(Effect.andThen(sensible(given), readingLog(given, listing(given))), { format: given.output })).pipe(
  Command.withDescription("Read the log itself, one line a fact: where it lies, when, who said it, what."),
  Command.withShortDescription("read the log itself"),
  Command.withExamples([
    { command: "millrace events --stream SCHEDULER", description: "Everything the scheduler has decided" },
    { command: "millrace events --at 2026-07-01T12:00:00Z", description: "What was known at noon" },
    { command: "millrace events --follow -o json | jq .name", description: "Everything, as it happens" }
  ])
)

const sensible = ({ at, follow }: Given): Effect.Effect<void, Trouble> =>
  follow && Option.isSome(at)
    ? Effect.fail(new Trouble({ code: "usage", what: "--follow goes on and --at stops", where: "the command line", remedy: "leave one of the two out", ending: "usage" }))
    : Effect.void

interface Tally {
  facts: number
  commits: number
  unreadable: number
}

const listing = Effect.fnUntraced(function*(given: Given) {
  const streams: ReadonlyArray<StreamName> = Option.match(given.stream, { onNone: () => streamNames, onSome: (stream) => [stream] })
  const now = yield* heads(streams)
  const moment = Option.getOrUndefined(given.at)
  const upTo = moment !== undefined && "cut" in moment ? lower(now, moment.cut) : now
  const untilMs = moment !== undefined && "atMs" in moment ? moment.atMs : Number.POSITIVE_INFINITY
  const tally: Tally = { facts: 0, commits: 0, unreadable: 0 }
  const hand = (commit: StoredCommit) => Effect.sync(() => commit.place.storedAtMs <= untilMs && tell(commit, given, tally))
  const summary = Effect.sync(() => note(summaryOf(tally)))
  yield* Effect.ensuring(
    Effect.gen(function*() {
      yield* eachMerged(streams, { after: given.after, upTo }, hand)
      if (given.follow) yield* following(streams, { ...now, ...higher(now, given.after) }, hand)
    }),
    summary
  )
})

/** What the streams hold at most, where the cut names less. A stream that a cut does not name stands before its first fact. */
const lower = (now: Cut, cut: Cut): Cut => Object.fromEntries(Object.entries(now).map(([stream, head]) => [stream, Math.min(head, cut[stream] ?? 0)]))

const higher = (now: Cut, cut: Cut): Cut => Object.fromEntries(Object.entries(now).map(([stream, head]) => [stream, Math.max(head, cut[stream] ?? 0)]))

const tell = (commit: StoredCommit, { output, raw }: Given, tally: Tally): void => {
  if (commit.facts.length > 0) tally.commits += 1
  tally.unreadable += unreadableIn(commit)
  for (const view of factsOf(commit)) {
    tally.facts += 1
    if (output === "json") sayJson(view)
    else say(factText(view, raw))
  }
}

const summaryOf = ({ commits, facts, unreadable }: Tally): string =>
  `${facts} facts in ${commits} commits${unreadable === 0 ? "" : `; ${unreadable} of them cannot be read by this version`}`

/** One reader a stream into one short queue: what comes is told as it comes. */
const following = (streams: ReadonlyArray<StreamName>, after: Cut, hand: (commit: StoredCommit) => Effect.Effect<unknown>) =>
  Effect.scoped(Effect.gen(function*() {
    const journal = yield* Journal
    const heard = yield* Queue.bounded<ReadonlyArray<StoredCommit>, JournalUnavailable>(64)
    for (const stream of streams) {
      const reader = yield* journal.read(stream, { after: after[stream] ?? 0 })
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(reader.take, (commits) => Queue.offer(heard, commits))).pipe(
        Effect.catch((error) => Queue.fail(heard, error))
      ))
    }
    return yield* Effect.forever(Effect.flatMap(Queue.take(heard), (commits) => Effect.forEach(commits, hand, { discard: true })))
  }))
