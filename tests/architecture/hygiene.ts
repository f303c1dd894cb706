import { roomOf } from "./rooms.ts"
import { join } from "node:path/posix"
import { lineOf, type Offence, placesOf, type Rule, type Source } from "./source.ts"

const linesMax = 600

/** Where a pattern stands anywhere in the text, comments and strings included. */
const inText = ({ path, text }: Source, pattern: RegExp, what: (match: RegExpMatchArray) => string): ReadonlyArray<Offence> =>
  [...text.matchAll(pattern)].map((match) => ({ path, line: lineOf(text, match.index), what: what(match) }))

/** Of a file that holds the words which a rule forbids, because it states that rule or plants an offence. */
const statesIt = ({ path }: Source): boolean => path.startsWith("tests/architecture/")

export const noMachinePaths: Rule = {
  name: "no machine paths",
  // `/work` itself is no machine's: it is where work finds itself in every sandbox.
  because: "a path of one machine is a promise that no other machine keeps",
  offences: (sources) => sources.filter((file) => !statesIt(file)).flatMap((file) =>
    inText(file, /(?<![\w.$}/-])\/(?:work\/(?:main|shared|\.)|Users|root|mnt|home\/[a-z][\w-]*)(?:\/[\w.-]+|\b)/gu, ([path]) => `names a path of one machine: ${path}`))
}

export const noTestIsLeftOut: Rule = {
  name: "no test is left out",
  because: "a test that does not run says nothing, and one that runs alone silences the rest",
  offences: (sources) => sources.filter(({ path }) => path.endsWith(".test.ts")).flatMap((file) =>
    placesOf(file, /\b(?:it|test|describe|suite)(?:\s*\.\s*\w+)*\s*\.\s*(only|skip|todo|fails|skipIf|runIf)\b|\b(?:xit|xdescribe|fit|fdescribe)\s*\(/gu, ([call]) => `leaves tests out with ${call}`))
}

const promised = /\b(?:TODO|FIXME|XXX|HACK|TBD|WIP)\b|\b(?:todo|fixme):|\b(?:[Ss]tub|[Pp]laceholder|[Nn]ot implemented|[Uu]nimplemented)\b/gu

export const nothingIsPromisedForLater: Rule = {
  name: "nothing is promised for later",
  because: "a note in the code reaches nobody: write the test that shows it, or the sentence that explains why it cannot happen",
  offences: (sources) => sources.filter((file) => !statesIt(file)).flatMap((file) => inText(file, promised, ([word]) => `says ${word}`))
}

export const filesStayShort: Rule = {
  name: "files stay short",
  because: `a file of more than ${linesMax} lines holds two things, and each of them has a better name`,
  offences: (sources) => sources.flatMap(({ path, text }) => {
    const lines = text.split("\n").length
    return lines > linesMax ? [{ path, line: linesMax, what: `has ${lines} lines` }] : []
  })
}

const vague = /(^|\/)(utils?|common|helpers?|types|managers?|misc|shared)(\.[a-z.]+$|\/)/u

export const filesSayWhatTheyHold: Rule = {
  name: "files say what they hold",
  because: "whatever would go into utils, common, helpers, types or manager has a better name",
  offences: (sources) => sources.filter(({ path }) => vague.test(path)).map(({ path }) => ({ path, line: 1, what: "has a name that fits everything" }))
}

/** A service's README, or undefined where there is none. */
export interface Readme {
  readonly service: string
  readonly text: string | undefined
}

export const everyServiceSaysWhatItIs = (readmes: ReadonlyArray<Readme>): Rule => ({
  name: "every service says what it owns, hears and remembers",
  because: "that one screen is all a stranger needs to know where a change belongs",
  offences: () => readmes.flatMap(({ service, text }) => {
    const path = `services/${service}/README.md`
    if (text === undefined) return [{ path, line: 1, what: "does not exist" }]
    return ["owns", "hears", "remembers"].filter((word) => !new RegExp(`\\b${word}\\b`, "iu").test(text)).map((word) => ({ path, line: 1, what: `does not say what it ${word}` }))
  })
})

const exported = /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(const|function\*?|class|interface|type|enum)\s+([\w$]+)/gmu

/**
 * Whether an export says its promise: in a sentence above it; or, for a list of options or a shape, in the
 * sentences at its members. A type that is taken from a value says what the value says; of a few lines that
 * stand together without a gap the first speaks for all; an error's message is its sentence, an id its name.
 */
const saysItself = (text: string, index: number, kind: string, name: string): boolean => {
  const before = text.slice(0, index).trimEnd()
  const after = text.slice(index)
  const body = after.slice(0, after.search(/\n[})\]]|\n\n/u) >>> 0)
  const above = before.slice(before.lastIndexOf("\n") + 1)
  return before.endsWith("*/") ||
    (kind === "interface" && body.includes("/**")) ||
    (kind === "type" && /^export type \w+(<[^>]*>)? =\s*\(?(typeof|keyof|Schema\.|[A-Z]\w*\[|[\w.]+<typeof )/u.test(after)) ||
    (!text.slice(before.length, index).includes("\n\n") && above.startsWith("export const ") && kind === "const") ||
    /^export class \w+ extends Schema\.TaggedError/u.test(after) ||
    /^[A-Z]\w+Id$/u.test(name)
}

/** The names that a package hands out at its doors, by the file that holds them. `*`: all of that file's. */
const handedOut = (sources: ReadonlyArray<Source>): ReadonlyMap<string, ReadonlySet<string>> => {
  const byPath = new Map(sources.map((file) => [file.path, file] as const))
  const found = new Map<string, Set<string>>()
  const follow = (path: string): void => {
    const names = found.get(path) ?? new Set()
    found.set(path, names.add("*"))
    for (const [, clause = "", to = ""] of (byPath.get(path)?.text ?? "").matchAll(/^export\s+(?:type\s+)?(\*|\{[^}]*\})\s+from\s+"(\.[^"]+)"/gmu)) {
      const held = join(path, "..", to)
      if (clause === "*") {
        if (found.get(held)?.has("*") !== true) follow(held)
      } else {
        const some = found.get(held) ?? new Set()
        found.set(held, some)
        for (const name of clause.slice(1, -1).split(",")) some.add(name.trim().replace(/^type\s+/u, "").replace(/\s+as\s.*$/u, ""))
      }
    }
  }
  for (const { path } of sources) if (/^(schemas|libs\/[^/]+)\/src\/(\w+\/)?index\.ts$/u.test(path)) follow(path)
  return found
}

export const whatLibsExportIsPromised: Rule = {
  name: "what libs and schemas hand out says its promise",
  because: "whoever calls it reads the promise, not the body; one that is not written is guessed",
  offences: (sources) => {
    const out = handedOut(sources)
    return sources.filter(({ path }) => out.has(path) && roomOf(path) !== "tests and tools").flatMap(({ path, text }) => {
      const names = out.get(path)!
      const said = new Set<string>()
      return [...text.matchAll(exported)].flatMap((match): ReadonlyArray<Offence> => {
        const [, kind = "", name = ""] = match
        if (!names.has("*") && !names.has(name)) return []
        // The further signatures of one function, and the type beside its schema, are the same thing again.
        const again = said.has(name)
        said.add(name)
        return again || saysItself(text, match.index, kind, name) ? [] : [{ path, line: lineOf(text, match.index), what: `exports ${name} without a word` }]
      })
    })
  }
}
