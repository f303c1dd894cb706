import type { AttemptExited, PlacementMade } from "@millrace/schemas"
import { Clock, Effect, Semaphore } from "effect"
import { dueForTest, ended, type GpuHealth, type GpuWord, type Judged, looked, noHealth, takenUp, tested } from "../domain/gpu-health.ts"
import { runtimeErrorIn } from "../domain/gpu-symptoms.ts"
import { Gpus } from "../machine/gpus.ts"
import { Ledger } from "../machine/ledger.ts"
import type { Ended } from "../machine/runtime.ts"

/** Between two looks at the devices. */
const lookEveryMs = 10_000

/** Of what work said last so much is looked through, from each stream. */
const lastWordsBytes = 64 * 1024

/** What a host does about its GPUs. */
export interface GpuWatch {
  /** Work ended. */
  readonly ended: (made: PlacementMade, end: Ended, cause: AttemptExited["cause"]) => Effect.Effect<void>
  /** Looks for ever. Says first what was suspected before; nothing at all on a host without GPUs. */
  readonly keep: Effect.Effect<never>
}

/**
 * Watches the GPUs of this host: what shows a symptom is said to be suspected, once, and tested while nobody uses it, at
 * growing distances, until it passes. What is suspected is remembered before it is said, and what is cleared after, so that
 * an agent that falls in between says it again.
 */
export const openGpuWatch = Effect.fnUntraced(function*(say: (word: GpuWord, atMs: number) => Effect.Effect<void>): Effect.fn.Return<GpuWatch, never, Ledger> {
  const gpus = yield* Gpus
  const ledger = yield* Ledger
  if (gpus.readings.length === 0) return { ended: () => Effect.void, keep: Effect.never }
  const inTurn = Semaphore.makeUnsafe(1)
  let health: GpuHealth = noHealth

  const become = Effect.fnUntraced(function*({ health: next, words }: Judged) {
    const same = JSON.stringify(next) === JSON.stringify(health)
    health = next
    const nowMs = yield* Clock.currentTimeMillis
    const clears = words.some(({ _tag }) => _tag === "GpuCleared")
    if (!same && !clears) yield* gpus.remember(next)
    for (const word of words) {
      yield* Effect.logWarning(word._tag === "GpuSuspected" ? `GPU ${word.gpu} is suspected: ${word.symptom}` : `GPU ${word.gpu} is cleared by ${word.test}`)
      yield* say(word, nowMs)
    }
    if (clears) yield* gpus.remember(next)
  })

  /** A driver that hangs takes a minute to say nothing: that holds up nobody else. */
  const look = Effect.gen(function*() {
    const { health: { kernel }, look } = yield* gpus.look(health)
    const nowMs = yield* Clock.currentTimeMillis
    yield* inTurn.withPermits(1)(Effect.suspend(() => become(looked({ ...health, ...(kernel === undefined ? {} : { kernel }) }, look, nowMs))))
  })

  /** A test takes minutes: it holds up no look and no end, and what they find meanwhile stands. */
  const test = Effect.gen(function*() {
    const held = new Set([...ledger.attempts.values()].flatMap((one) => one.state === "begun" || one.state === "running" ? one.made.gpus ?? [] : []))
    const [device] = dueForTest(health, held, yield* Clock.currentTimeMillis)
    if (device === undefined) return
    const suspicion = device.suspicion
    const outcome = yield* gpus.test(device)
    const nowMs = yield* Clock.currentTimeMillis
    yield* inTurn.withPermits(1)(Effect.suspend(() => {
      const now = health.devices.find(({ uuid }) => uuid === device.uuid)
      // A symptom that showed during the test has put the next one off.
      return now?.suspicion?.sinceMs === suspicion?.sinceMs && now?.atMs === device.atMs ? become(tested(health, device.uuid, outcome, nowMs)) : Effect.void
    }))
  })

  const begin = inTurn.withPermits(1)(Effect.gen(function*() {
    yield* become(takenUp(yield* gpus.remembered, gpus.readings, yield* Clock.currentTimeMillis))
  }))

  return {
    keep: begin.pipe(
      Effect.andThen(Effect.all([
        Effect.forever(Effect.andThen(look, Effect.sleep(lookEveryMs))),
        Effect.forever(Effect.andThen(test, Effect.sleep(lookEveryMs)))
      ], { concurrency: 2 })),
      Effect.andThen(Effect.never)
    ),
    ended: ({ gpus: named = [], jobId, workspace }, { code, output }, cause) => {
      if (named.length === 0) return Effect.void
      const well = cause === "exited" && code === 0
      const words = well ? "" : output.map(({ bytes }) => Buffer.from(bytes.subarray(-lastWordsBytes)).toString("latin1")).join("\n")
      return inTurn.withPermits(1)(Effect.flatMap(Clock.currentTimeMillis, (nowMs) => Effect.suspend(() => become(ended(health, { gpus: named, workspace, jobId, well, error: runtimeErrorIn(words) }, nowMs)))))
    }
  }
})
