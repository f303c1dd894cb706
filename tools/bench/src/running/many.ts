import { type Commit, commitsOf, decodeMessage, encodeCommit, foldCommit, type Message } from "@millrace/journal"
import { scheduler } from "@millrace/scheduler"
import { type JobSpec, type MillFact, subjectText } from "@millrace/schemas"
import { createHash } from "node:crypto"
import { admitted, commitOf, gpuMachine, needs, submitted } from "../journal/facts.ts"

type World = ReturnType<typeof scheduler.initial>

const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
/** A name of an id's own letters, which says its number. */
const nameOf = (letter: string, number: number): string => `${letter}${[25, 20, 15, 10, 5, 0].map((shift) => digits[(number >> shift) & 31]).join("")}`

/** What a hundred jobs of one host ask for: four whole GPUs, the other four in parts of a tenth, and the rest cores alone. */
const needOf = (number: number, cores: boolean): Partial<JobSpec> & { readonly resources: JobSpec["resources"] } => {
  const plain = needs(500 + (number % 4) * 250, 4_096)
  const at = cores ? 99 : number % 100
  if (at < 4) return { resources: { ...plain, gpus: 1 }, dialect: 3, runMsMax: 86_400_000 }
  return at < 44 ? { resources: { ...plain, gpuMilli: 100 }, dialect: 3, runMsMax: 86_400_000 } : { resources: plain, runMsMax: 86_400_000 }
}

/** A message as it lies in the log. */
export interface Lain extends Message {
  readonly stream: string
  readonly sequence: number
  readonly subject: string
  readonly atMs: number
}

/** Jobs that come before the scheduler looks again. */
const aRound = 1_000

/**
 * A scheduler without a log under it: facts are encoded, decoded and folded as they would come from one, rounds are
 * decided and folded as they are said. What it holds in memory is what it would hold in a cell.
 */
export class Cell {
  world: World
  readonly saw: Record<string, number>
  /** How many placements were decided here. */
  placed = 0
  /** Everything that came to lie in the log, from when somebody wants it on. */
  tail: Array<Lain> | undefined
  #went = createHash("sha256")
  #atMs = 2_000_000_000_000

  constructor(world: World = scheduler.initial(), saw: Readonly<Record<string, number>> = {}) {
    this.world = world
    this.saw = { ...saw }
  }

  hosts(count: number): void {
    for (let number = 0; number < count; number += 1) {
      this.hear("ACCESS", admitted(nameOf("H", number)))
      this.hear("HOSTS", gpuMachine(nameOf("H", number), number))
    }
  }

  /** Jobs with these numbers are submitted, or such as want cores alone, and placed until nothing more is. */
  jobs(from: number, to: number, cores = false): void {
    for (let number = from; number < to;) {
      for (const last = Math.min(to, number + aRound); number < last; number += 1) this.hear("GATEWAY", submitted(nameOf("J", number), needOf(number, cores)))
      this.decide()
    }
  }

  hear(stream: string, event: MillFact): void {
    this.#append(commitOf(event), stream)
  }

  /** Who was placed where and on which devices since somebody asked, as one short text. */
  went(): string {
    const digest = this.#went.digest("hex").slice(0, 16)
    this.#went = createHash("sha256")
    return digest
  }

  /** Rounds until nothing more is said. */
  decide(): void {
    while (true) {
      const atMs = this.#atMs + 10
      const round = { atMs, epoch: 1, saw: { ...this.saw }, silences: [] }
      const commits = commitsOf(scheduler, round, scheduler.decide(this.world, round))
      if (commits.length === 0) return
      this.#atMs = atMs
      for (const commit of commits) {
        for (const { event } of commit.facts) {
          if (event._tag !== "PlacementMade") continue
          this.placed += 1
          this.#went.update(`${event.attemptId} ${event.hostId} ${(event.gpus ?? []).join()}\n`)
        }
        this.#append(commit, scheduler.writes)
      }
    }
  }

  /** Folds a message as a reader of the log has it: nothing in it is shared with whoever wrote it. */
  fold({ atMs, body, headers, sequence, stream, subject }: Lain): void {
    const block = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")
    const header = (name: string): string => {
      const at = block.indexOf(`${name}: `)
      return at < 0 ? "" : block.slice(at + name.length + 2, block.indexOf("\r\n", at))
    }
    this.saw[stream] = sequence
    this.#atMs = Math.max(this.#atMs, atMs)
    this.world = foldCommit(scheduler, this.world, decodeMessage({ stream, sequence, subject, storedAtMs: atMs, header, body }))
  }

  #append(commit: Commit, stream: string): void {
    const lain: Lain = { ...encodeCommit(commit, { last: "subject", sequence: 0 }, 1), stream, sequence: (this.saw[stream] ?? 0) + 1, subject: subjectText(commit.subject), atMs: commit.happenedAtMs }
    this.tail?.push(lain)
    this.fold(lain)
  }
}
