import { Effect } from "effect"
import type { ApiClient } from "./client.ts"
import { follow } from "./sse.ts"

/** What a follower of a job's output is told. */
export type Said =
  | { readonly kind: "output"; readonly bytes: Uint8Array; readonly id: string | undefined; readonly text: string | undefined }
  /** Another try begins, from its first byte. */
  | { readonly kind: "attempt"; readonly attempt: number }
  | { readonly kind: "end"; readonly outcome: string; readonly exitCode: number | null; readonly droppedBytes: number }

export interface OutputOptions {
  readonly stream: "stdout" | "stderr"
  readonly task?: number | undefined
  /** Whether to wait for what is still to come. */
  readonly follow: boolean
  /** The id of the last piece that was seen. */
  readonly from?: string | undefined
  readonly hand: (said: Said) => void
  readonly note?: (text: string) => void
}

/** Hands over a job's output as it is said, each byte once, until the job (or the task) has ended. */
export const followOutput = Effect.fnUntraced(function*(client: ApiClient, jobId: string, options: OutputOptions) {
  const { from, hand, note, stream, task } = options
  const query = { stream, follow: options.follow ? "true" : "false", ...(task === undefined ? {} : { task }) } as const
  const open = (lastId: string | undefined) =>
    client.bytes.logs({ params: { jobId }, query, headers: lastId === undefined ? {} : { "last-event-id": lastId } })
  yield* follow({
    from,
    open,
    // What there is now is told in one line; where that ends, so does a look that does not wait.
    once: !options.follow,
    hand: ({ data, id, name }) => {
      const said = saidOf(name, data as Readonly<Record<string, unknown>>, id)
      if (said !== undefined) hand(said)
      return said?.kind === "end"
    },
    ...(note === undefined ? {} : { note })
  })
})

const saidOf = (name: string, data: Readonly<Record<string, unknown>>, id: string | undefined): Said | undefined => {
  switch (name) {
    case "output": {
      const text = typeof data["text"] === "string" ? data["text"] : undefined
      return { kind: "output", text, bytes: text === undefined ? Buffer.from(String(data["base64"] ?? ""), "base64") : Buffer.from(text), id }
    }
    case "attempt":
      return { kind: "attempt", attempt: Number(data["attempt"]) }
    case "end":
      return { kind: "end", outcome: String(data["outcome"]), exitCode: typeof data["exitCode"] === "number" ? data["exitCode"] : null, droppedBytes: Number(data["droppedBytes"] ?? 0) }
    default:
      return undefined
  }
}
