import { Beats } from "@millrace/journal"
import { Effect, Layer } from "effect"
import { writeFile } from "node:fs/promises"

/**
 * Tells the machine's dead man each time that the cell has answered a beat: writes something new to the file that it looks
 * at. A machine without one names no file. A file that cannot be written is said in the log, and the machine ends in time:
 * it cannot be told from one whose cell is silent.
 */
export const tellingDeadMan = <E, R>(file: string | undefined, beats: Layer.Layer<Beats, E, R>): Layer.Layer<Beats, E, R> =>
  file === undefined ? beats : Layer.effect(Beats, Effect.map(Beats, (inner) => {
    let heard = 0
    const tell = Effect.suspend(() => {
      heard += 1
      return Effect.tryPromise(() => writeFile(file, `${heard}\n`))
    }).pipe(Effect.catch((error) => Effect.logWarning(`The machine's dead man cannot be told that the cell was heard: ${file}`, error)))
    return { ...inner, beat: (beat) => Effect.tap(inner.beat(beat), (answer) => (answer === undefined ? Effect.void : tell)) }
  })).pipe(Layer.provide(beats))
