import type { Cut } from "@millrace/schemas"
import { Effect } from "effect"
import type { ApiClient } from "../client.ts"
import type { Ending } from "../exit-codes.ts"
import { note, type Output, say, sayJson } from "../print.ts"
import { cutText, followStory, storyText } from "../story.ts"
import { endedWith } from "../trouble.ts"

interface Following {
  readonly after?: Cut
  readonly format: Output
}

/** Prints a job's story as it happens. Ctrl-C leaves the job alone and says how to come back. */
export const follow = (client: ApiClient, jobId: string, { after, format }: Following) => {
  const text = storyText()
  return followStory(client, jobId, {
    ...(after === undefined ? {} : { after }),
    line: (line) => (format === "json" ? sayJson(line) : say(text(line))),
    note
  }).pipe(Effect.onInterrupt(() => Effect.sync(() => note(`Detached; the job goes on. Come back with: millrace story ${jobId} --follow`))))
}

/** Says how a job ended, and ends the command with its code. */
export const endOf = Effect.fnUntraced(function*(client: ApiClient, jobId: string, { after, format }: { readonly after: Cut; readonly format: Output }) {
  const { job } = yield* client.jobs.show({ params: { jobId }, query: { after: cutText(after), waitMs: 5_000 } })
  if (format === "json") sayJson(job)
  if (job.state !== "succeeded") return yield* endedWith(endings[job.state] ?? "bug")
})

const endings: Readonly<Record<string, Ending>> = { failed: "failed", cancelled: "cancelled", lost: "lost", refused: "refused" }
