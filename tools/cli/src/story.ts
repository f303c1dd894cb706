import type { StoryLine } from "@millrace/gateway/api"
import type { Cut, StreamName } from "@millrace/schemas"
import { Effect } from "effect"
import type { ApiClient } from "./client.ts"
import { cutText } from "./cut.ts"
import { inLine } from "./print.ts"
import { follow } from "./sse.ts"

export { cutText }

/** Tells the lines of one story for people: how long after the first, what, in words. */
export const storyText = (): (line: StoryLine) => string => {
  let firstAtMs: number | undefined
  return ({ atMs, name, task, text }) => {
    firstAtMs ??= atMs
    return `${`+${atMs - firstAtMs} ms`.padEnd(12)}${name.padEnd(17)} ${task === undefined ? "" : `[${task}] `}${inLine(text)}`
  }
}

export interface FollowOptions {
  /** What to wait for before the first look: the cut of the write that is followed. */
  readonly after?: Cut
  readonly line: (line: StoryLine) => void
  /** Told when the API does not answer for a while. */
  readonly note?: (text: string) => void
  /** Asked after each line: whether enough has been told. Without it the story is told to its end. */
  readonly enough?: (line: StoryLine) => boolean
}

const freshMsMax = 5_000

/**
 * Hands over each line of a job's story once, as it comes, until the story is over; then a cut that holds all
 * of them. Goes on where it was, whatever becomes of the line or of the gateway behind it.
 */
export const followStory = Effect.fnUntraced(function*(client: ApiClient, jobId: string, { after, enough, line, note }: FollowOptions) {
  const cut: Partial<Record<StreamName, number>> = { ...after }
  // Whoever has just submitted may be ahead of the tables, for which the job does not exist yet.
  yield* client.jobs.show({ params: { jobId }, query: after === undefined ? {} : { after: cutText(after), waitMs: freshMsMax } })
  yield* follow({
    open: (lastId) => client.jobs.events({ params: { jobId }, query: {}, headers: lastId === undefined ? {} : { "last-event-id": lastId } }),
    hand: ({ data, name }) => {
      if (name === "over") return true
      if (name !== "line") return false
      const told = data as StoryLine
      const stream = told.stream as StreamName
      cut[stream] = Math.max(cut[stream] ?? 0, told.sequence)
      line(told)
      return enough?.(told) ?? false
    },
    ...(note === undefined ? {} : { note })
  })
  return cut as Cut
})
