import type { AttemptExited, AttemptId, BlobRef, PlacementMade, Program, Runtime as RuntimeName } from "@millrace/schemas"
import { Context, type Effect, type Option, Schema } from "effect"
import type { Doings } from "../domain/idle.ts"

/** The work could not be started. Nothing ran. */
export class CannotStart extends Schema.TaggedError<CannotStart>()("CannotStart", { runtime: Schema.String, detail: Schema.String }) {
  override get message() {
    return `The ${this.runtime} runtime could not start the work: ${this.detail}`
  }
}

/** A moment on the host's own clock. */
export interface Moment {
  readonly bootId: string
  readonly hostMs: number
}

/** How work ended. */
export interface Ended {
  readonly code?: number
  readonly signal?: string
  /** Why, where nobody had asked the runtime to stop it; without it `exited`. */
  readonly cause?: AttemptExited["cause"]
  /** It had ended before anybody asked it to. */
  readonly byItself?: boolean
  /** When it truly ended, where that is known: an agent may hear of it later. */
  readonly at?: Moment
  /** What it said, by stream name, up to the limit that the runtime states; and how much more there was. */
  readonly output: ReadonlyArray<{ readonly name: string; readonly bytes: Uint8Array; readonly droppedBytes: number }>
  /** What it made, in the blob store already. Collecting twice gives the same blobs. */
  readonly artefacts?: ReadonlyArray<{ readonly name: string; readonly blob: BlobRef; readonly droppedBytes: number }>
  /** Its files as it left them, in the blob store already. */
  readonly snapshot?: BlobRef
}

/** Work that runs. */
export interface Running {
  /** Where its output lies, as `stdout` and `stderr`, growing while it runs and whole until `release`. */
  readonly folder?: string
  /** When it truly began, where that is known: an agent that takes it up was not there. */
  readonly startedAt?: Moment
  readonly ended: Effect.Effect<Ended>
  /** What it has said and used until so many ms ago. Without it nobody can tell whether it does anything. */
  readonly doings?: Effect.Effect<Omit<Doings, "askedBytes"> & { readonly agoMs: number }>
  /** Moves the moment away at which it is killed; never nearer. */
  readonly extend: (deadlineMs: number) => Effect.Effect<void>
  /** Asks it to end, then ends it. Succeeds once it is over; asking twice is asking once. */
  readonly stop: Effect.Effect<void>
  /** Its end was told: folders, mounts and whatever else it took are given back. Doing so again changes nothing. */
  readonly release: Effect.Effect<void>
}

/** What is to be started. */
export interface Start {
  readonly made: PlacementMade
  readonly program: Program
  /** Host-monotonic ms at which it is killed unless the host's lease has gone on. */
  readonly deadlineMs: number
  /** A listening unix socket of the host's, for this attempt alone. */
  readonly socket?: string
}

/** One way to run work. */
export interface Runtime {
  readonly name: RuntimeName
  readonly start: (start: Start) => Effect.Effect<Running, CannotStart>
  /** What an earlier agent had started and still runs, or has ended and was not told of; `socket` takes the place of the one that went with that agent. Nothing: it is gone without a trace. */
  readonly adopt: (made: PlacementMade, socket?: string) => Effect.Effect<Option.Option<Running>>
  /** Ends whatever may be left of an attempt, and gives back what it took. */
  readonly endOrphan: (attempt: AttemptId) => Effect.Effect<void>
  /** Ends and removes whatever is here of other attempts than these: their ends were told, or nobody knows them. */
  readonly clear?: (alive: ReadonlySet<AttemptId>) => Effect.Effect<void>
}

/** The runtimes of this host, by name. */
export class Runtimes extends Context.Service<Runtimes, ReadonlyMap<RuntimeName, Runtime>>()("millrace/host/Runtimes") {}
