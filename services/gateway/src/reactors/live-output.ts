import type { AttemptId, HostId, JobId, Principal, WorkspaceName } from "@millrace/schemas"
import { Context, Layer, Schema, Stream } from "effect"

/** What the host has of an attempt's output cannot be had from it right now. What it keeps can be read later. */
export class LiveGone extends Schema.TaggedError<LiveGone>()("LiveGone", { code: Schema.String, reason: Schema.String }) {
  override get message() {
    return `The output cannot be followed on its host (${this.code}): ${this.reason}`
  }
}

/** Which bytes of which attempt, for whom. */
export interface LiveAsk {
  readonly workspace: WorkspaceName
  readonly jobId: JobId
  readonly attempt: number
  readonly attemptId: AttemptId
  readonly hostId: HostId
  readonly stream: "stdout" | "stderr"
  readonly from: number
  /** What there is now, without waiting for more. */
  readonly now: boolean
  readonly openedBy: Principal
  readonly rule: string
}

/** The output of work that runs, from the host where it runs. */
export class LiveOutput extends Context.Service<LiveOutput, {
  /**
   * The bytes from `from` on, each piece right behind the one before. It ends when the work has ended and
   * all is told, and survives a relay that is started anew; it fails when the host cannot be reached.
   */
  readonly follow: (ask: LiveAsk) => Stream.Stream<Uint8Array, LiveGone>
}>()("millrace/gateway/LiveOutput") {
  /** Where no relay is served: output is read once it is kept. */
  static readonly none: Layer.Layer<LiveOutput> = Layer.succeed(LiveOutput, {
    follow: () => Stream.fail(new LiveGone({ code: "no_relay", reason: "this gateway serves no relay" }))
  })
}
