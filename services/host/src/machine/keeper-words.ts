import { AttemptId, Count } from "@millrace/schemas"
import { Schema } from "effect"

/** Raised when an agent and a keeper of different versions would misunderstand each other. */
export const keeperProtocol = 1

/** The longest line that either side takes, in bytes: a program with its whole environment fits. */
export const frameBytesMax = 8 * 1024 * 1024

/** Whole ms since the machine's boot, on its monotonic clock: what all deadlines are in. */
export const monotonicMs = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000n))

/** What is to run, and what ends it. */
export const Order = Schema.Struct({
  attemptId: AttemptId,
  argv: Schema.Array(Schema.String),
  /** All that it finds in its environment. */
  env: Schema.Record(Schema.String, Schema.String),
  cwd: Schema.String,
  /** Where `stdout`, `stderr` and `exit.json` are written. Made when it is not there. */
  folder: Schema.String,
  /** Kept of each stream; what comes after is counted and dropped. */
  outputBytesMax: Count,
  /** Host-monotonic ms at which it is killed unless it was extended. */
  deadlineMs: Count,
  /** Run to kill it, besides killing its process group: for what does not die with the process that was started. */
  endWith: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Run to ask it to end, instead of SIGTERM to its process group. */
  stopWith: Schema.optionalKey(Schema.Array(Schema.String)),
  /** A cgroup v2 folder of the attempt's own: all in it is killed. */
  cgroup: Schema.optionalKey(Schema.String)
})
export type Order = typeof Order.Type

/** How work ended, in the keeper's words; lies in `exit.json` from then on. */
export const ExitRecord = Schema.Struct({
  attemptId: AttemptId,
  code: Schema.optionalKey(Schema.Int),
  signal: Schema.optionalKey(Schema.String),
  /** By itself, by `stop`, or by its deadline. */
  cause: Schema.Literals(["exited", "stopped", "lease_ended"]),
  bootId: Schema.String,
  startedAtMs: Count,
  endedAtMs: Count,
  stdout: Schema.Struct({ bytes: Count, droppedBytes: Count }),
  stderr: Schema.Struct({ bytes: Count, droppedBytes: Count })
})
export type ExitRecord = typeof ExitRecord.Type

/** An attempt that the keeper knows: it runs, or its end was not yet forgotten. */
export const Kept = Schema.Struct({
  attemptId: AttemptId,
  pid: Count,
  folder: Schema.String,
  bootId: Schema.String,
  startedAtMs: Count,
  deadlineMs: Count,
  /** All that it has said, kept or dropped. An older keeper does not tell. */
  saidBytes: Schema.optionalKey(Count),
  exit: Schema.optionalKey(ExitRecord)
})
export type Kept = typeof Kept.Type

/** What an agent asks of the keeper. */
export const Ask = Schema.Union([
  Schema.TaggedStruct("Hello", {}),
  Schema.TaggedStruct("Spawn", { order: Order }),
  /** A deadline only ever moves away: an answer that comes late takes nothing back. */
  Schema.TaggedStruct("Extend", { deadlines: Schema.Array(Schema.Struct({ attemptId: AttemptId, deadlineMs: Count })) }),
  /** SIGTERM, and the kill after the grace. Answered when it is over. */
  Schema.TaggedStruct("Stop", { attemptId: AttemptId, graceMs: Count }),
  Schema.TaggedStruct("List", {}),
  /** Answered when it is over. */
  Schema.TaggedStruct("Wait", { attemptId: AttemptId }),
  /** Of what is over. Its files stay: they are the agent's. */
  Schema.TaggedStruct("Forget", { attemptId: AttemptId }),
  /** Ends everything that runs and then itself. */
  Schema.TaggedStruct("End", { graceMs: Count })
])
export type Ask = typeof Ask.Type

export const Answer = Schema.Union([
  Schema.TaggedStruct("Here", { protocol: Count, pid: Count, bootId: Schema.String }),
  Schema.TaggedStruct("Known", { kept: Schema.Array(Kept) }),
  Schema.TaggedStruct("Over", { exit: ExitRecord }),
  Schema.TaggedStruct("Done", {}),
  Schema.TaggedStruct("Unknown", {}),
  Schema.TaggedStruct("Refused", { detail: Schema.String })
])
export type Answer = typeof Answer.Type

/** One line each way; an answer carries the number of what it answers. */
export const AskFrame = Schema.fromJsonString(Schema.Struct({ number: Count, ask: Ask }))
export const AnswerFrame = Schema.fromJsonString(Schema.Struct({ number: Count, answer: Answer }))

/** Cuts a stream of bytes into lines. `broken` is told of a line longer than the limit, once. */
export const lines = (line: (text: string) => void, broken: () => void) => {
  let parts: Array<Buffer> = []
  let bytes = 0
  return (chunk: Buffer): void => {
    let from = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const text = Buffer.concat([...parts, chunk.subarray(from, at)]).toString("utf8")
      parts = []
      bytes = 0
      from = at + 1
      line(text)
    }
    if (from === chunk.length) return
    parts.push(chunk.subarray(from))
    bytes += chunk.length - from
    if (bytes > frameBytesMax) {
      parts = []
      bytes = 0
      broken()
    }
  }
}
