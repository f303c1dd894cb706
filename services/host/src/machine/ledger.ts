import { crashPoint } from "@millrace/journal"
import { type AttemptId, decodeFact, encodeFact, type Fence, type Resources } from "@millrace/schemas"
import { Context, Effect, Layer, Result, Schema } from "effect"
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs"
import { dirname } from "node:path"
import { exchange, fencedBy, holdingOf, isOlder, nothingHeld, type Remembered } from "../domain/attempt.ts"

/** The host's own memory cannot be written: it must not start what it could not remember. */
export class LedgerFull extends Schema.TaggedError<LedgerFull>()("LedgerFull", { path: Schema.String, cause: Schema.Defect() }) {
  override get message() {
    return `The host cannot write ${this.path}: nothing new is started. Free some disk there`
  }
}

/**
 * What this host has begun, and what it has told. Written before the effect that it speaks of, so that
 * an agent that restarts knows what may be running. It need not outlive a power cut: nothing that it
 * speaks of does.
 */
export class Ledger extends Context.Service<Ledger, {
  readonly attempts: ReadonlyMap<AttemptId, Remembered>
  readonly fences: ReadonlyMap<string, Fence>
  /** What all that has begun and is not over takes together: kept as it changes, for a host has run thousands. */
  readonly held: () => Resources
  readonly remember: (attempt: AttemptId, remembered: Remembered) => Effect.Effect<void, LedgerFull>
}>()("millrace/host/Ledger") {
  /** One JSON line for each thing remembered, in a file that is written anew when most of it is past. */
  static readonly layerFile = (path: string): Layer.Layer<Ledger> => Layer.effect(Ledger, Effect.acquireRelease(
    Effect.sync(() => new FileLedger(path)),
    (ledger) => Effect.sync(() => ledger.close())
  ).pipe(Effect.map((ledger) => ({
    attempts: ledger.kept.attempts,
    fences: ledger.kept.fences,
    held: () => ledger.kept.held,
    remember: (attempt, remembered) =>
      crashPoint(`remember ${remembered.state} before`).pipe(
        Effect.andThen(Effect.try({ try: () => ledger.remember(attempt, remembered), catch: (cause) => new LedgerFull({ path, cause }) })),
        Effect.andThen(crashPoint(`remember ${remembered.state} after`))
      )
  }))))

  /** For the simulator: what `kept` holds outlives the agent, as a disk does. */
  static readonly layerKept = (kept: Kept): Layer.Layer<Ledger> => Layer.succeed(Ledger, {
    attempts: kept.attempts,
    fences: kept.fences,
    held: () => kept.held,
    remember: (attempt, remembered) => Effect.sync(() => note(kept, attempt, remembered))
  })
}

export interface Kept {
  readonly attempts: Map<AttemptId, Remembered>
  readonly fences: Map<string, Fence>
  held: Resources
}

export const nothingKept = (): Kept => ({ attempts: new Map(), fences: new Map(), held: nothingHeld })

/** Ends that were told are forgotten after this many newer ones: a placement is not delivered again so late. */
const toldMax = 50_000

const note = (kept: Kept, attempt: AttemptId, remembered: Remembered): void => {
  const { attempts, fences } = kept
  kept.held = exchange(kept.held, holdingOf(attempts.get(attempt)), holdingOf(remembered))
  attempts.delete(attempt)
  attempts.set(attempt, remembered)
  if (remembered.state !== "withdrawn") {
    const { fence } = remembered.made
    const by = fencedBy(remembered.made)
    const seen = fences.get(by)
    if (seen === undefined || isOlder(seen, fence)) fences.set(by, fence)
  }
  if (attempts.size <= toldMax) return
  for (const [oldest, { state }] of attempts) {
    if (attempts.size <= toldMax) break
    if (state === "told") {
      const past = attempts.get(oldest)
      attempts.delete(oldest)
      if (past?.state !== "told") continue
      const by = fencedBy(past.made)
      const seen = fences.get(by)
      // A newer attempt's fence outlives the older one's word.
      if (seen !== undefined && !isOlder(past.made.fence, seen)) fences.delete(by)
    }
  }
}

class FileLedger {
  readonly kept = nothingKept()
  readonly #path: string
  #file: number
  #lines = 0
  #bytes = 0

  constructor(path: string) {
    this.#path = path
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    for (const line of read(path)) note(this.kept, line.attempt, line.remembered)
    this.#file = this.#rewritten()
  }

  remember(attempt: AttemptId, remembered: Remembered): void {
    this.#write(Buffer.from(lineOf(attempt, remembered)))
    note(this.kept, attempt, remembered)
    this.#lines += 1
    if (this.#lines > 4 * toldMax) {
      closeSync(this.#file)
      this.#file = this.#rewritten()
    }
  }

  close(): void {
    closeSync(this.#file)
  }

  /** A whole line or nothing of it: half a line in the middle would make the file unreadable. */
  #write(line: Uint8Array): void {
    try {
      for (let done = 0; done < line.length;) done += writeSync(this.#file, line, done)
    } catch (cause) {
      ftruncateSync(this.#file, this.#bytes)
      throw cause
    }
    this.#bytes += line.length
  }

  /** What is kept, in a new file in place of the old one; a crash leaves one of the two. */
  #rewritten(): number {
    const draft = openSync(`${this.#path}.next`, "w", 0o600)
    for (const [attempt, remembered] of this.kept.attempts) {
      writeSync(draft, lineOf(attempt, remembered))
    }
    closeSync(draft)
    renameSync(`${this.#path}.next`, this.#path)
    this.#lines = this.kept.attempts.size
    const file = openSync(this.#path, "a", 0o600)
    this.#bytes = fstatSync(file).size
    return file
  }
}

/** One line: a placement as the log has it, because money in it is no number that JSON knows. */
const lineOf = (attempt: AttemptId, remembered: Remembered): string => {
  const kept = slim(remembered)
  const written = kept.state === "begun" || kept.state === "running" ? { ...kept, made: encodeFact(kept.made) } : kept
  return `${JSON.stringify({ attempt, remembered: written })}\n`
}

const rememberedIn = (written: { readonly state: string; readonly made?: unknown }): Remembered => {
  if (written.state !== "begun" && written.state !== "running") return written as Remembered
  // The first release wrote the placement itself, which held no money.
  const { body, name, version } = isPlacement(written.made) ? { name: written.made._tag, version: 1, body: written.made } : written.made as ReturnType<typeof encodeFact>
  return { ...written, made: Result.getOrThrow(decodeFact(name, version, body)) } as Remembered
}

const isPlacement = (made: unknown): made is { readonly _tag: "PlacementMade" } => typeof made === "object" && made !== null && "_tag" in made

/** The sealed program is in the log; here it would only be another copy. */
const slim = (remembered: Remembered): Remembered => {
  if (remembered.state === "withdrawn") return remembered
  if (remembered.state === "told") {
    const { fence, jobId, task } = remembered.made
    return { state: "told", made: { jobId, ...(task === undefined ? {} : { task }), fence } }
  }
  const { program: _, ...spec } = remembered.made.spec
  return { ...remembered, made: { ...remembered.made, spec } }
}

const read = (path: string): ReadonlyArray<{ readonly attempt: AttemptId; readonly remembered: Remembered }> => {
  let text: string
  try {
    text = readFileSync(path, "utf8")
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return []
    throw cause
  }
  const lines = text.split("\n").filter((line) => line !== "")
  return lines.flatMap((line, index) => {
    let parsed: { readonly attempt: AttemptId; readonly remembered: { readonly state: string } } | undefined
    try {
      parsed = JSON.parse(line)
      return [{ attempt: parsed!.attempt, remembered: rememberedIn(parsed!.remembered) }]
    } catch (cause) {
      // The last line of an agent that was killed while it wrote: what it speaks of had not begun. One that is
      // whole and cannot be understood may speak of work that runs.
      if (parsed === undefined && index === lines.length - 1) return []
      throw new Error(`${path} line ${index + 1} cannot be read. Move the file away to begin with an empty ledger`, { cause })
    }
  })
}
