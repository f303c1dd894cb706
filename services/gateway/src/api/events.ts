import { Database } from "@millrace/readmodel"
import type { Cut } from "@millrace/schemas"
import { Clock, Effect, Fiber } from "effect"
import { placeText, type TellingPlace } from "../domain/telling-place.ts"
import { tables } from "../projections/tables.ts"
import { storyRows } from "./reading.ts"
import { eventText, type Say, serverSent } from "./server-sent.ts"
import { isOver, storyLines } from "./views.ts"

/** Lines that may wait for a slow reader. */
const linesMax = 64
/** The tables are asked no more often than this for one follower, and after this long at the latest, in ms. */
const lookMs = { least: 50, most: 1_000 }
/** What happens behind a job's end is told when it comes within this, in ms; or until what each attempt cost is told. */
const afterwordMs = 2_000

/** A job's story as server-sent events; what they say stands at `Jobs`. */
export const storyEvents = (jobId: string, from: TellingPlace | undefined, takenBack: Effect.Effect<void>) =>
  serverSent(jobId, { waitingMax: linesMax, takenBack }, (say) => tell(jobId, from, say))

const event = (name: string, data: unknown, place: TellingPlace): string => eventText(name, data, placeText(place))

const tell = Effect.fnUntraced(function*(jobId: string, from: TellingPlace | undefined, say: Say) {
  let since: Cut = from?.from ?? {}
  let skip = from?.told ?? 0
  // What was begun to be told is finished first, in the same order; then come the new lines.
  let upTo: Cut | undefined = from !== undefined && skip > 0 ? from.to : undefined
  let endedAtMs: number | undefined
  const told = { placed: 0, charged: 0 }
  while (true) {
    // Begun before the tables are read: what moves them from here on is not slept through.
    const moving = yield* Effect.forkChild(moved, { startImmediately: true })
    const { cut, value } = yield* storyRows(jobId, { since, ...(upTo === undefined ? {} : { at: upTo }) }, upTo === undefined ? {} : { after: upTo })
    const to = upTo ?? cut
    const lines = storyLines(value)
    for (const [at, line] of lines.entries()) {
      if (at >= skip) yield* say(event("line", line, { from: since, to, told: at + 1 }))
      if (line.name === "PlacementMade") told.placed += 1
      if (line.name === "SpendCommitted") told.charged += 1
    }
    const nowMs = yield* Clock.currentTimeMillis
    if (endedAtMs === undefined && (isOver(lines) || (since === from?.from && (yield* overBefore(jobId, since))))) endedAtMs = nowMs
    since = { ...since, ...to }
    skip = 0
    upTo = undefined
    const isPaid = told.placed > 0 && told.charged >= told.placed
    if (endedAtMs !== undefined && (isPaid || nowMs - endedAtMs >= afterwordMs)) {
      return yield* say(event("over", { jobId }, { from: since, to: since, told: 0 }))
    }
    yield* Effect.sleep(lookMs.least)
    yield* Fiber.join(moving)
  }
})

/** Whether the story had its end already in what a follower was told before it came back. */
const overBefore = (jobId: string, at: Cut) =>
  Effect.map(storyRows(jobId, { at }, {}), ({ value }) => isOver(value.lines))

/** Ends when the tables have moved on, or after a while: another process may run them. */
const moved: Effect.Effect<void, never, Database> = Effect.flatMap(Database, ({ standing }) => {
  const here = standing.servedHere(tables.name, tables.version)
  return here === undefined ? Effect.sleep(lookMs.least * 4) : Effect.raceFirst(standing.next(here), Effect.sleep(lookMs.most))
})
