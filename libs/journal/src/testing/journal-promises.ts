import { layer } from "@effect/vitest"
import type { StreamName, Subject } from "@millrace/schemas"
import { Context, type Effect, type Layer, type Scope } from "effect"
import type { Message } from "../codec.ts"
import type { JournalShape } from "../journal.ts"
import { appending } from "./appending.ts"
import { deciding } from "./deciding-promises.ts"
import { reading } from "./reading.ts"

/** A log whose promises are to be tested, and what a test may do to it. */
export class LogUnderTest extends Context.Service<LogUnderTest, {
  /** Opens the log as another process would. */
  readonly open: Effect.Effect<JournalShape, unknown, Scope.Scope>
  /** Stores bytes behind everybody's back. */
  readonly put: (stream: StreamName, subject: Subject, message: Message) => Effect.Effect<void>
  /** How many appends the test of many writers makes. */
  readonly appends: number
}>()("millrace/LogUnderTest") {}

/**
 * The conformance suite: what every journal promises, whatever it is made of. `make` gives one log for the
 * whole suite; each test keeps to stories of its own.
 */
export const journalKeepsItsPromises = (name: string, make: Layer.Layer<LogUnderTest, unknown>): void => {
  layer(make, { excludeTestServices: true, timeout: "60 seconds" })(name, (it) => {
    appending(it)
    reading(it)
    deciding(it)
  })
}
