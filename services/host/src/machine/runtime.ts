import type { AttemptId, PlacementMade, Program, Runtime as RuntimeName } from "@millrace/schemas"
import { Context, type Effect, Schema } from "effect"

/** The work could not be started. Nothing ran. */
export class CannotStart extends Schema.TaggedError<CannotStart>()("CannotStart", { runtime: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The ${this.runtime} runtime could not start the work: ${this.detail}`
  }
}

/** How work ended. */
export interface Ended {
  readonly code?: number
  readonly signal?: string
  /** What it said, by stream name, up to the limit that the runtime states; and how much more there was. */
  readonly output: ReadonlyArray<{ readonly name: string; readonly bytes: Uint8Array; readonly droppedBytes: number }>
}

/** Work that runs. */
export interface Running {
  readonly ended: Effect.Effect<Ended>
  /** Asks it to end, then ends it. Succeeds once it is over; asking twice is asking once. */
  readonly stop: Effect.Effect<void>
}

/** One way to run work. */
export interface Runtime {
  readonly name: RuntimeName
  readonly start: (made: PlacementMade, program: Program) => Effect.Effect<Running, CannotStart>
  /** Ends what an earlier agent had started, or perhaps started, and could not tell of. */
  readonly endOrphan: (attempt: AttemptId) => Effect.Effect<void>
}

/** The runtimes of this host, by name. */
export class Runtimes extends Context.Service<Runtimes, ReadonlyMap<RuntimeName, Runtime>>()("millrace/host/Runtimes") {}
