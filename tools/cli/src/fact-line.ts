import { sentence } from "@millrace/gateway/api"
import { readable, type StoredCommit, type StoredFact } from "@millrace/journal"
import { encodeFact, subjectText } from "@millrace/schemas"
import { Result } from "effect"
import { inLine } from "./print.ts"

/** One fact of the log for programs: where it lies, what surrounds it, and its body or why that cannot be read. */
export interface FactView {
  readonly stream: string
  readonly sequence: number
  readonly ordinal: number
  readonly epoch: number
  readonly storedAtMs: number
  readonly happenedAtMs: number
  readonly actor: string
  readonly subject: string
  readonly name: string
  readonly version: number
  readonly id: string
  readonly partOf: string
  readonly causedBy: string | null
  readonly grant: string | null
  readonly text: string
  readonly body: Readonly<Record<string, unknown>> | null
  readonly unreadable: string | null
}

/** The facts of a commit, each as one value. */
export const factsOf = (commit: StoredCommit): ReadonlyArray<FactView> => commit.facts.map((fact) => viewOf(commit, fact))

const viewOf = (commit: StoredCommit, fact: StoredFact): FactView => {
  const { epoch, sequence, storedAtMs, stream } = commit.place
  const body = Result.isSuccess(fact.event) ? encodeFact(fact.event.success).body : null
  const unreadable = Result.isSuccess(fact.event) ? null : fact.event.failure.reason
  return {
    stream,
    sequence,
    ordinal: fact.ordinal,
    epoch,
    storedAtMs,
    happenedAtMs: commit.happenedAtMs,
    actor: commit.actor,
    subject: subjectText(commit.subject),
    name: fact.name,
    version: fact.version,
    id: fact.id,
    partOf: fact.partOf,
    causedBy: fact.causedBy ?? null,
    grant: fact.grant ?? null,
    text: Result.isSuccess(fact.event) ? sayingOf(fact.name, sentence(fact.event.success), body ?? {}) : `cannot be read: ${fact.event.failure.reason}`,
    body,
    unreadable
  }
}

/** Whether every fact of a commit can be read here. */
export const unreadableIn = (commit: StoredCommit): number => readable(commit).unreadable.length

/** A sentence where there is one; otherwise the fields that are short enough to be read in passing. */
const sayingOf = (name: string, said: string, body: Readonly<Record<string, unknown>>): string =>
  said !== name
    ? said
    : Object.entries(body).flatMap(([field, value]) =>
      (typeof value === "string" && value.length <= 64) || typeof value === "number" || typeof value === "boolean" ? [`${field} ${value}`] : []).join(", ")

/** One line a fact, for people. */
export const factText = (view: FactView, raw: boolean): string => {
  const place = `${view.stream} ${view.sequence}${view.ordinal === 0 ? "" : `.${view.ordinal}`}`
  const rest = raw ? JSON.stringify(view.body ?? { unreadable: view.unreadable }) : view.text
  return [place.padEnd(15), new Date(view.storedAtMs).toISOString(), view.actor.padEnd(18), view.name.padEnd(18), view.subject, inLine(rest)].join("  ").trimEnd()
}
