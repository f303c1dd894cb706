import type { Said, SaidFact } from "@millrace/journal"
import { type Subject, subjectText } from "@millrace/schemas"

/** One commit must stay well under the server's limit of 1 MiB; a fact of ours is well under 2 KiB. */
const commitFactsMax = 256

/** The facts of a round by subject, in the order of saying, cut into commits that the log takes. */
export class Saying {
  readonly #bySubject = new Map<string, { readonly subject: Subject; readonly facts: Array<SaidFact> }>()

  say(subject: Subject, fact: SaidFact): void {
    const key = subjectText(subject)
    const told = this.#bySubject.get(key) ?? { subject, facts: [] }
    told.facts.push(fact)
    this.#bySubject.set(key, told)
  }

  get isEmpty(): boolean {
    return this.#bySubject.size === 0
  }

  commits(): ReadonlyArray<Said> {
    const commits: Array<Said> = []
    for (const { facts, subject } of this.#bySubject.values()) {
      for (let from = 0; from < facts.length; from += commitFactsMax) {
        commits.push({ subject, facts: facts.slice(from, from + commitFactsMax) as unknown as Said["facts"] })
      }
    }
    return commits
  }
}
