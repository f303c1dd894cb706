import type { StoryLine } from "@millrace/gateway/api"
import type { Cut } from "@millrace/schemas"
import { Effect } from "effect"
import type { ApiClient } from "../client.ts"
import { cutText } from "../cut.ts"
import type { Ending } from "../exit-codes.ts"
import { dollarsShort } from "../money.ts"
import { note, type Output, say, sayJson } from "../print.ts"
import { followStory, storyText } from "../story.ts"
import { endedWith } from "../trouble.ts"

interface Following {
  readonly after?: Cut
  readonly format: Output
  readonly line?: (line: StoryLine) => void
}

/** Tells a job's story as it happens. Ctrl-C leaves the job alone and says how to come back. */
export const follow = (client: ApiClient, jobId: string, { after, format, line }: Following) => {
  const text = storyText()
  return followStory(client, jobId, {
    ...(after === undefined ? {} : { after }),
    line: line ?? ((one) => (format === "json" ? sayJson(one) : say(text(one)))),
    note
  }).pipe(Effect.onInterrupt(() => Effect.sync(() => note(detached(jobId)))))
}

export const detached = (jobId: string): string => `Detached; the job goes on. Come back with: millrace story ${jobId} --follow`

/** Where a job stands once the cut of its end is in the tables. */
export const standingAt = (client: ApiClient, jobId: string, after: Cut) =>
  Effect.map(client.jobs.show({ params: { jobId }, query: { after: cutText(after), waitMs: 5_000 } }), ({ job }) => job)

/** Says how a job ended, and ends the command with its code. */
export const endOf = Effect.fnUntraced(function*(client: ApiClient, jobId: string, { after, format }: { readonly after: Cut; readonly format: Output }) {
  const job = yield* standingAt(client, jobId, after)
  if (format === "json") sayJson(job)
  else if (job.spentPico !== undefined) note(`It cost ${dollarsShort(job.spentPico)}.`)
  return yield* endedAs(job.state)
})

/** Ends the command as the job ended. */
export const endedAs = (state: string) => (state === "succeeded" ? Effect.void : Effect.fail(endedWith(endings[state] ?? "bug")))

const endings: Readonly<Record<string, Ending>> = { failed: "failed", cancelled: "cancelled", lost: "lost", refused: "refused" }
