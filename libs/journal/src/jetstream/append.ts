import { type StreamName, subjectText } from "@millrace/schemas"
import { Effect } from "effect"
import { encodeCommit, isCommit, type StoredMessage } from "../codec.ts"
import type { Appended, Commit, Expectation } from "../commit.ts"
import { CommitRefused, type JournalUnavailable, Overtaken } from "../journal.ts"
import { type Api, lastOnDirectly, messageOf, pause } from "./api.ts"
import { headerBytes } from "./headers.ts"
import type { GroupCommit } from "./group-commit.ts"
import type { Answer, Publisher } from "./publisher.ts"

/** What an append needs: the publisher, and the way to look up what came first. */
export interface Door {
  readonly api: Api
  readonly publisher: Publisher
  /** What stores appends of a stream together, where it takes them so. */
  readonly groupOf: (stream: StreamName) => GroupCommit | undefined
  readonly epoch: number
  readonly streamOf: (subject: string) => StreamName | undefined
  /** A host may look at nothing but the newest message on its own subjects. */
  readonly readsOwnSubjectsOnly: boolean
}

/**
 * Compare-and-append. An unknown outcome is repeated with the same ids and the same expectation until it is
 * known: if the first try was stored, the repetition is refused, and the first message behind the
 * expectation turns out to be ours.
 */
export const appendThrough = (door: Door) =>
  Effect.fnUntraced(function*(commit: Commit, expect: Expectation): Effect.fn.Return<Appended, Overtaken | CommitRefused> {
    const where = subjectText(commit.subject)
    const stream = door.streamOf(where)
    if (stream === undefined) return yield* new CommitRefused({ where, reason: "not_configured", detail: "no stream holds this subject" })
    const message = encodeCommit(commit, expect, door.epoch)
    const headers = headerBytes(message, `${expect.last === "subject" ? "Nats-Expected-Last-Subject-Sequence" : "Nats-Expected-Last-Sequence"}: ${expect.sequence}\r\n`)
    const said: Said = { door, commit, expect, stream, where }
    // A batch takes no expectation about its whole stream behind its first message.
    const group = expect.last === "subject" ? door.groupOf(stream) : undefined
    let open = false
    for (let attempt = 0; ; attempt += 1) {
      // What went wrong once goes alone: it holds nobody else up again.
      const answer = yield* sendOnce(attempt === 0 && group !== undefined ? group : door.publisher, where, headers, message.body)
      switch (answer._tag) {
        case "Stored":
          return { stream: answer.stream, sequence: answer.sequence, epoch: door.epoch }
        case "Refused": {
          // It speaks of this try alone. One before it, of which nobody knows, may have been stored.
          const earlier = open ? yield* storedEarlier(said) : "no"
          if (typeof earlier === "object") return earlier
          if (earlier === "no") return yield* new CommitRefused({ where, reason: answer.reason, detail: answer.detail })
          break
        }
        case "Behind": {
          const known = yield* lookBehind(said, answer.found)
          if (known !== undefined) return known
          break
        }
        case "Unknown":
          open = true
      }
      yield* pause(attempt)
    }
  })

interface Said {
  readonly door: Door
  readonly commit: Commit
  readonly expect: Expectation
  readonly stream: StreamName
  readonly where: string
}

const sendOnce = (publisher: Pick<Publisher, "send">, subject: string, headers: Uint8Array, body: Uint8Array): Effect.Effect<Answer> =>
  Effect.callback((resume) => publisher.send(subject, headers, body, (answer) => resume(Effect.succeed(answer))))

/** Whether an earlier try was stored, and where. */
const storedEarlier = ({ commit, door, expect, stream, where }: Said): Effect.Effect<Appended | "no" | "unclear"> =>
  firstBehind(door, stream, where, expect, undefined).pipe(
    Effect.map((first) =>
      first !== undefined && isCommit(commit, first.header) ? { stream, sequence: first.sequence, epoch: door.epoch } : "no" as const),
    Effect.catchTag("JournalUnavailable", () => Effect.succeed("unclear" as const))
  )

/** Settles a refusal: ours after all, somebody else's, or (undefined) not to be known yet. */
const lookBehind = Effect.fnUntraced(function*({ commit, door, expect, stream, where }: Said, found: number | undefined) {
  const first = yield* firstBehind(door, stream, where, expect, found).pipe(Effect.catchTag("JournalUnavailable", () => Effect.succeed(undefined)))
  if (first === undefined) {
    // Nothing behind it, and yet the expectation failed: it speaks of a future that this log does not have.
    if (found !== undefined && found < expect.sequence) return yield* new Overtaken({ where, expected: expect.sequence, actual: found })
    return undefined
  }
  if (isCommit(commit, first.header)) return { stream, sequence: first.sequence, epoch: door.epoch }
  return yield* new Overtaken({ where, expected: expect.sequence, actual: found ?? first.sequence })
})

/** The first message behind an expectation; for a host the newest, which is the same while it alone writes there. */
const firstBehind = (
  { api, readsOwnSubjectsOnly }: Door,
  stream: string,
  subject: string,
  { last, sequence }: Expectation,
  found: number | undefined
): Effect.Effect<StoredMessage | undefined, JournalUnavailable> => {
  if (last === "stream") return messageOf(api, stream, { seq: sequence + 1 })
  if (!readsOwnSubjectsOnly) return messageOf(api, stream, { seq: sequence + 1, next_by_subj: subject })
  return Effect.map(lastOnDirectly(api, stream, subject), (newest) =>
    // A replica may not have heard yet of what the leader refused us for.
    newest === undefined || newest.sequence <= sequence || newest.sequence < (found ?? 0) ? undefined : newest)
}

/** The newest message on a subject, no older than `atLeast`. */
export const newestOn = Effect.fnUntraced(function*(
  { api, readsOwnSubjectsOnly }: Door,
  stream: string,
  subject: string,
  atLeast: number
): Effect.fn.Return<StoredMessage | undefined, JournalUnavailable> {
  if (!readsOwnSubjectsOnly) return yield* messageOf(api, stream, { last_by_subj: subject })
  for (let attempt = 0; ; attempt += 1) {
    const newest = yield* lastOnDirectly(api, stream, subject)
    if ((newest?.sequence ?? 0) >= atLeast) return newest
    yield* pause(attempt)
  }
})

