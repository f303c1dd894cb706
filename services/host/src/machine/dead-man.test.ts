import { assert, describe, it } from "@effect/vitest"
import { type BeatAnswer, Beats, type HostBeat } from "@millrace/journal"
import { Effect, Layer } from "effect"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tellingDeadMan } from "./dead-man.ts"

const beat = { hostId: "hst_0000000000000000000000000A", bootId: "b", sentAtMonoMs: 0, attempts: 0 } as unknown as HostBeat
const answers = (given: ReadonlyArray<BeatAnswer | undefined>) => {
  const left = [...given]
  return Layer.succeed(Beats, { beat: () => Effect.sync(() => left.shift()), answer: () => Effect.void })
}
const yes: BeatAnswer = { term: 1, leaseMs: 1_000, lost: false }

describe("a machine's dead man", () => {
  it.effect("is told something new each time that the cell has answered, and nothing while it is silent", () => Effect.scoped(Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "dead-man-"))), (path) => Effect.sync(() => rmSync(path, { recursive: true })))
    const file = join(folder, "heard")
    const seen: Array<string> = []
    yield* Effect.gen(function*() {
      const beats = yield* Beats
      for (let count = 0; count < 4; count += 1) {
        yield* beats.beat(beat)
        seen.push(existsSync(file) ? readFileSync(file, "utf8") : "nothing")
      }
    }).pipe(Effect.provide(tellingDeadMan(file, answers([undefined, yes, undefined, yes]))))
    assert.deepStrictEqual(seen, ["nothing", "1\n", "1\n", "2\n"])
  })))

  it.effect("that cannot be told stops no beat", () => Effect.gen(function*() {
    const answer = yield* Effect.flatMap(Beats, (beats) => beats.beat(beat)).pipe(Effect.provide(tellingDeadMan("/nowhere/at/all", answers([yes]))))
    assert.deepStrictEqual(answer, yes)
  }))
})
