import { assert, layer } from "@effect/vitest"
import { HostId } from "@millrace/schemas"
import { Context, Effect, Exit, type Layer, Scope } from "effect"
import type { BeatAnswer, Beats, HostBeat } from "../beats.ts"

/** Beats whose promises are to be tested, from both their ends. */
export class BeatsUnderTest extends Context.Service<BeatsUnderTest, {
  readonly host: Beats["Service"]
  readonly scheduler: Beats["Service"]
}>()("millrace/BeatsUnderTest") {}

const beat: HostBeat = { hostId: HostId.make(`hst_${"0".repeat(25)}1`), bootId: "boot", sentAtMonoMs: 5, attempts: 2 }
const answer: BeatAnswer = { term: 3, leaseMs: 15_000, lost: true, voidBelow: { epoch: 1, sequence: 7 } }

/** What beats promise, however they travel. */
export const beatsKeepTheirPromises = (name: string, make: Layer.Layer<BeatsUnderTest, unknown>): void => {
  layer(make, { excludeTestServices: true, timeout: "60 seconds" })(name, (it) => {
    it.effect("a beat that nobody answers gives nothing", () =>
      Effect.gen(function*() {
        const { host } = yield* BeatsUnderTest
        assert.isUndefined(yield* host.beat(beat))
      }))

    it.effect("a beat arrives as it was sent and comes back answered, until nobody answers any more", () =>
      Effect.gen(function*() {
        const { host, scheduler } = yield* BeatsUnderTest
        const heard: Array<HostBeat> = []
        const scope = yield* Scope.make()
        yield* Scope.provide(scheduler.answer((said) => {
          heard.push(said)
          return said.attempts === 0 ? undefined : answer
        }), scope)
        // The server may take a moment to know who listens.
        yield* until(Effect.map(host.beat(beat), (answered) => answered !== undefined))
        assert.deepStrictEqual(yield* host.beat(beat), answer)
        assert.deepStrictEqual(heard.at(-1), beat)
        assert.isUndefined(yield* host.beat({ ...beat, attempts: 0 }))
        yield* Scope.close(scope, Exit.void)
        yield* until(Effect.map(host.beat(beat), (answered) => answered === undefined))
      }))
  })
}

const until = (so: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(so, (holds) => holds ? Effect.void : Effect.andThen(Effect.sleep("10 millis"), until(so)))
