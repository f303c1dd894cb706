import {
  type Cut,
  type Decided,
  decodeFact,
  dictionary,
  encodeFact,
  FactUnreadable,
  type FactId,
  type GrantId,
  headers,
  type Place,
  parseSubject,
  type Principal
} from "@millrace/schemas"
import { Result } from "effect"
import { Packr } from "msgpackr"
import type { Commit, Expectation, StoredCommit, StoredFact } from "./commit.ts"

/** Headers by name, and the bytes of the bodies: what a commit is on the wire and on disk. */
export interface Message {
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly body: Uint8Array
}

/** What a store must know to hand a message back as a commit. */
export interface StoredMessage {
  readonly stream: string
  readonly sequence: number
  readonly subject: string
  readonly storedAtMs: number
  readonly header: (name: string) => string
  readonly body: Uint8Array
}

/**
 * The dictionary is handed over by `getStructures`, not `structures`: entries from number 32 on take a
 * second byte, which msgpackr 2.1.3 prepares only for structures that it loads itself.
 */
const packer = (): Packr =>
  new Packr({
    getStructures: () => dictionary.map((keys) => [...keys]),
    maxSharedStructures: dictionary.length,
    maxOwnStructures: 0,
    mapsAsObjects: true
  })

const unpack = packer()
let pack = packer()
let packed = 0

/** A packer remembers the keys of each shape that is not in the dictionary: a new one now and then bounds that. */
const packBodies = (bodies: unknown): Uint8Array => {
  packed += 1
  if (packed % 65_536 === 0) pack = packer()
  return pack.pack(bodies)
}

const list = (values: ReadonlyArray<string | undefined>): string => values.map((value) => value ?? "").join(",")

const cutText = (cut: Cut): string => Object.entries(cut).map(([stream, sequence]) => `${stream}=${sequence}`).join(",")

const cutFrom = (text: string): Cut =>
  Object.fromEntries(text === "" ? [] : text.split(",").map((entry) => {
    const at = entry.indexOf("=")
    return [entry.slice(0, at), Number(entry.slice(at + 1))]
  }))

/** A commit as headers and bytes. What is written is encoded by its schema, so a wrong fact never leaves. */
export const encodeCommit = (commit: Commit, expect: Expectation, epoch: number): Message => {
  const encoded = commit.facts.map(({ event }) => encodeFact(event))
  const lines: Array<readonly [string, string]> = [
    [headers.id, list(commit.facts.map(({ id }) => id))],
    [headers.fact, list(encoded.map(({ name, version }) => `${name}/${version}`))],
    [headers.partOf, list(commit.facts.map(({ partOf }) => partOf))],
    [headers.actor, commit.actor],
    [headers.at, String(commit.happenedAtMs)],
    [headers.prev, String(expect.sequence)],
    [headers.epoch, String(epoch)],
    [headers.dictionary, String(dictionary.length)]
  ]
  if (commit.facts.some(({ causedBy }) => causedBy !== undefined)) {
    lines.push([headers.causedBy, list(commit.facts.map(({ causedBy }) => causedBy))])
  }
  if (commit.facts.some(({ grant }) => grant !== undefined)) {
    lines.push([headers.grant, list(commit.facts.map(({ grant }) => grant))])
  }
  if (commit.facts.some(({ mustUnderstand }) => mustUnderstand === true)) lines.push([headers.mustUnderstand, "1"])
  if (commit.decided !== undefined) {
    const { decidedAtMs, of, ordinal, saw } = commit.decided
    lines.push([headers.saw, cutText(saw)], [headers.decided, `${decidedAtMs}/${ordinal}/${of}`])
  }
  if (commit.trace !== undefined) {
    lines.push([headers.traceparent, commit.trace.traceparent])
    if (commit.trace.tracestate !== undefined) lines.push([headers.tracestate, commit.trace.tracestate])
  }
  return { headers: lines, body: packBodies(encoded.map(({ body }) => body)) }
}

/** Marks a message that says nothing: it only takes a place in the order. */
const fenceHeader = "Mill-Fence"

/**
 * An empty message beside a commit. A writer that takes over an order stores some of them, so that what
 * another one still has under way expects a sequence that is already past. Reads as a commit of no facts.
 */
export const fenceMessage = ({ actor, happenedAtMs }: Commit, epoch: number): Message => ({
  headers: [[fenceHeader, "1"], [headers.actor, actor], [headers.at, String(happenedAtMs)], [headers.epoch, String(epoch)]],
  body: new Uint8Array(0)
})

/** The ids of a commit's facts, as its header holds them. */
export const idsOf = (commit: Commit): string => list(commit.facts.map(({ id }) => id))

/**
 * Whether a stored message is this very commit: all of its facts and no others. The first id alone would
 * not do: a writer that fell between an append and its answer may say the same fact again with more behind
 * it, and what lay behind it would count as said.
 */
export const isCommit = (commit: Commit, header: (name: string) => string): boolean => header(headers.id) === idsOf(commit)

/**
 * A stored message as a commit. Total: bytes that nobody can read come out as one unreadable fact for
 * each name in the headers (at least one), so that a reader can set them aside and go on.
 */
export const decodeMessage = (message: StoredMessage): StoredCommit => {
  const { header } = message
  const names = split(header(headers.fact))
  const ids = split(header(headers.id))
  const partOf = split(header(headers.partOf))
  const causedBy = split(header(headers.causedBy))
  const grants = split(header(headers.grant))
  const isFence = names.length === 0 && header(fenceHeader) !== ""
  // Unpacked and decoded when somebody asks: a reader that minds a few names pays for no others.
  let unpacked: Result.Result<ReadonlyArray<unknown>, FactUnreadable> | undefined
  const bodies = () => (unpacked ??= isFence ? noBodies : bodiesOf(message, names.length))
  const place: Place = {
    stream: message.stream,
    sequence: message.sequence,
    prev: numberOf(header(headers.prev)),
    epoch: numberOf(header(headers.epoch)),
    storedAtMs: message.storedAtMs
  }
  const facts = (names.length > 0 ? names : isFence ? [] : ["?/0"]).map((text, ordinal): StoredFact => {
    const slash = text.lastIndexOf("/")
    const name = slash < 0 ? text : text.slice(0, slash)
    const version = slash < 0 ? 0 : numberOf(text.slice(slash + 1))
    let event: StoredFact["event"] | undefined
    return {
      id: (ids[ordinal] ?? "") as FactId,
      name,
      version,
      ordinal,
      partOf: (partOf[ordinal] ?? ids[ordinal] ?? "") as FactId,
      ...(causedBy[ordinal] ? { causedBy: causedBy[ordinal] as FactId } : {}),
      ...(grants[ordinal] ? { grant: grants[ordinal] as GrantId } : {}),
      get event() {
        return (event ??= Result.flatMap(bodies(), (all) => decodeFact(name, version, all[ordinal])))
      }
    }
  })
  const decided = decidedFrom(header)
  const traceparent = header(headers.traceparent)
  const tracestate = header(headers.tracestate)
  return {
    place,
    subject: parseSubject(message.subject) ?? { kind: "unknown", scope: message.subject },
    actor: header(headers.actor) as Principal,
    happenedAtMs: numberOf(header(headers.at)),
    mustUnderstand: header(headers.mustUnderstand) === "1",
    ...(decided === undefined ? {} : { decided }),
    ...(traceparent === "" ? {} : { trace: tracestate === "" ? { traceparent } : { traceparent, tracestate } }),
    facts
  }
}

/** A fence holds nothing to unpack, and every line brings hundreds of its messages. */
const noBodies: Result.Result<ReadonlyArray<unknown>, FactUnreadable> = Result.succeed([])

const split = (text: string): ReadonlyArray<string> => (text === "" ? [] : text.split(","))

const numberOf = (text: string): number => {
  const value = Number(text)
  return Number.isSafeInteger(value) && value >= 0 ? value : 0
}

const decidedFrom = (header: StoredMessage["header"]): Decided | undefined => {
  const text = header(headers.decided)
  if (text === "") return undefined
  const [atMs = "", ordinal = "", of = ""] = text.split("/")
  return { saw: cutFrom(header(headers.saw)), decidedAtMs: numberOf(atMs), ordinal: numberOf(ordinal), of: numberOf(of) }
}

const bodiesOf = (message: StoredMessage, count: number): Result.Result<ReadonlyArray<unknown>, FactUnreadable> => {
  const needed = numberOf(message.header(headers.dictionary))
  const fail = (reason: string) => Result.fail(new FactUnreadable({ name: message.header(headers.fact) || "?", version: 0, reason }))
  if (needed > dictionary.length) return fail(`it needs ${needed} dictionary entries, ${dictionary.length} are known here`)
  try {
    const bodies: unknown = unpack.unpack(message.body)
    return Array.isArray(bodies) && bodies.length === count
      ? Result.succeed(bodies)
      : fail(`its body does not hold ${count} facts`)
  } catch (cause) {
    return fail(`its bytes are not msgpack (${cause instanceof Error ? cause.message : String(cause)})`)
  }
}
