import { decisionMade, type Decision } from "@millrace/authority"
import type { Round, Said, SaidFact } from "@millrace/journal"
import { type FactId, type MillFact, type Subject, subjectText } from "@millrace/schemas"
import { askOf } from "./permits.ts"
import type { HostState, JobState, TaskState } from "./world.ts"

/** One commit must stay well under the server's limit of 1 MiB. */
const commitBytesMax = 256 * 1024
const commitFactsMax = 256

/** What one round says: facts by subject, in the order of saying, cut into commits that the log takes. */
export class Saying {
  readonly round: Round
  /** Jobs with which this round is done: nothing more is said of them in it. */
  readonly done = new Set<JobState>()
  /** Jobs of which a task failed in this round, where only so many may: how many is counted before more begins. */
  readonly failing = new Set<JobState>()
  /** Hosts that this round declared lost: it places nothing more there. */
  readonly lost = new Set<HostState>()
  /** Tasks that this round told to end. */
  readonly withdrawn = new Set<TaskState>()
  /** How many facts were said so far. */
  size = 0
  readonly #wholes: Array<BySubject> = []
  readonly #bySubject: BySubject = new Map()

  constructor(round: Round) {
    this.round = round
  }

  say(subject: Subject, fact: SaidFact): void {
    this.size += 1
    add(this.#bySubject, subject, fact)
  }

  /** Says facts on several subjects that are stored together or not at all. */
  sayWhole(whole: ReadonlyArray<readonly [Subject, SaidFact]>): void {
    this.size += whole.length
    const bySubject: BySubject = new Map()
    for (const [subject, fact] of whole) add(bySubject, subject, fact)
    this.#wholes.push(bySubject)
  }

  /** A word of the schedule about a job, where its submitter hears it. */
  ofJob(job: JobState, event: MillFact, causedBy: FactId = job.submitted!.factId): void {
    const { fact: { workspace }, factId } = job.submitted!
    this.say({ kind: "schedule", scope: workspace }, { event, partOf: factId, causedBy })
    if (event._tag === "JobSettled" || event._tag === "JobRefused") this.done.add(job)
  }

  /** A denial, for the audit. */
  denied(job: JobState, decision: Decision): void {
    const { fact: { requestDigest }, factId } = job.submitted!
    this.say({ kind: "decision", scope: "scheduler" }, {
      event: decisionMade({
        point: "scheduler",
        ask: askOf(job),
        decision,
        argumentsDigest: requestDigest,
        view: { ACCESS: this.round.saw["ACCESS"] ?? 0, METERING: this.round.saw["METERING"] ?? 0 },
        viewAgeMs: 0,
        decidedAtMs: this.round.atMs,
        jobId: job.id
      }),
      partOf: factId,
      causedBy: factId
    })
  }

  commits(): ReadonlyArray<Said> {
    const wholes = this.#wholes.flatMap((bySubject, together) => cut(bySubject).map((said): Said => ({ ...said, together })))
    return [...cut(this.#bySubject), ...wholes]
  }
}

type BySubject = Map<string, { readonly subject: Subject; readonly facts: Array<SaidFact> }>

const add = (bySubject: BySubject, subject: Subject, fact: SaidFact): void => {
  const key = subjectText(subject)
  const told = bySubject.get(key) ?? { subject, facts: [] }
  told.facts.push(fact)
  bySubject.set(key, told)
}

/** Facts by subject, cut into commits that the log takes. */
const cut = (bySubject: BySubject): ReadonlyArray<Said> => {
  const commits: Array<Said> = []
  for (const { facts, subject } of bySubject.values()) {
    let batch: Array<SaidFact> = []
    let bytes = 0
    for (const fact of facts) {
      const size = sizeOf(fact.event)
      if (batch.length > 0 && (bytes + size > commitBytesMax || batch.length >= commitFactsMax)) {
        commits.push({ subject, facts: batch as unknown as Said["facts"] })
        batch = []
        bytes = 0
      }
      batch.push(fact)
      bytes += size
    }
    commits.push({ subject, facts: batch as unknown as Said["facts"] })
  }
  return commits
}

/** An upper estimate of a fact's bytes: only a sealed program is ever large, and a placement's lists. */
const sizeOf = (event: MillFact): number => {
  if (event._tag !== "PlacementMade") return 1024
  const { gang, spec: { egress, program } } = event
  return 2048 + [...gang?.addresses ?? [], ...gang?.network?.hosts ?? []].reduce((sum, text) => sum + 4 + text.length, 0) + (program?.sealed.length ?? 0) + (egress ?? []).reduce((sum, text) => sum + 2 * text.length, 0)
}
