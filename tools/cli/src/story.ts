import type { StoryLine } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { Effect, Schedule } from "effect"
import type { ApiClient } from "./client.ts"

/** Tells the lines of one story for people: how long after the first, what, in words. */
export const storyText = (): (line: StoryLine) => string => {
  let firstAtMs: number | undefined
  return ({ atMs, name, text }) => {
    firstAtMs ??= atMs
    return `${`+${atMs - firstAtMs} ms`.padEnd(12)}${name.padEnd(18)}${text}`
  }
}

/** A cut as it travels in a query: `GATEWAY=12,SCHEDULER=40`. */
export const cutText = (cut: Cut): string => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")

export interface FollowOptions {
  /** What to wait for before the first look: the cut of the write that is followed. */
  readonly after?: Cut
  readonly line: (line: StoryLine) => void
  /** Told when the API does not answer for a while. */
  readonly note?: (text: string) => void
}

const waitMs = 5_000
const silenceMsMax = 30_000

/**
 * Hands over each line of a job's story once, as it comes, until the story is over; then its last cut. Looks
 * every 50 ms at first, and every half second once the job has been quiet. Holds out for 30 s where the
 * API is away.
 */
export const followStory = Effect.fnUntraced(function*(client: ApiClient, jobId: string, { after, line, note }: FollowOptions) {
  const told = new Set<string>()
  let quiet = 0
  const look = client.jobs.story({ params: { jobId }, query: after === undefined ? {} : { after: cutText(after), waitMs } }).pipe(
    Effect.tapError((error) => Effect.sync(() => isPassing(error) && note?.("The API does not answer; asking again."))),
    Effect.retry({ schedule: Schedule.spaced("1 second").pipe(Schedule.upTo({ duration: silenceMsMax })), while: isPassing })
  )
  while (true) {
    const { cut, lines, over } = yield* look
    const fresh = lines.filter(({ id }) => !told.has(id))
    for (const one of fresh) {
      told.add(one.id)
      line(one)
    }
    if (over) return cut
    quiet = fresh.length > 0 ? 0 : quiet + 1
    yield* Effect.sleep(quiet < 100 ? "50 millis" : "500 millis")
  }
})

/** What may be well in a moment: a gateway that restarts, tables that catch up. */
const isPassing = (error: { readonly _tag: string }): boolean =>
  error._tag === "Unavailable" || (error._tag === "HttpClientError" && (error as unknown as { reason: { _tag: string } }).reason._tag === "TransportError")
