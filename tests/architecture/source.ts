import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path/posix"
import { masked } from "./masked.ts"

/** One import, re-export or dynamic import. */
export interface Import {
  readonly specifier: string
  readonly line: number
  /** Erased before it runs: a word borrowed, not a thing used. */
  readonly typeOnly: boolean
  /** What is named between the braces, as far as it is. */
  readonly names: ReadonlyArray<string>
}

/** One file as the rules see it. */
export interface Source {
  /** From the root, with slashes. */
  readonly path: string
  readonly text: string
  readonly code: string
  readonly strings: ReadonlyArray<string>
  readonly imports: ReadonlyArray<Import>
}

/** Somebody broke a rule, here. */
export interface Offence {
  readonly path: string
  readonly line: number
  readonly what: string
}

/** A rule, and why there is one. */
export interface Rule {
  readonly name: string
  readonly because: string
  readonly offences: (sources: ReadonlyArray<Source>) => ReadonlyArray<Offence>
}

/** What a failure says: where, what, and the reason of the rule. */
export const verdict = ({ because, name, offences }: Rule, sources: ReadonlyArray<Source>): string =>
  offences(sources).map(({ line, path, what }) => `${path}:${line} ${what}\n  (${name}, because ${because})`).join("\n")

export const lineOf = (text: string, index: number): number => text.slice(0, index).split("\n").length

/** Every place where a pattern (with the `g` flag) stands in the code, strings and comments apart. */
export const placesOf = ({ code, path }: Source, pattern: RegExp, what: (match: RegExpMatchArray) => string): ReadonlyArray<Offence> =>
  [...code.matchAll(pattern)].map((match) => ({ path, line: lineOf(code, match.index), what: what(match) }))

const importing = /\b(?:import|export)(\s+type)?\s+((?:[\w$*,\s]|\{[^}]*\})*?)\s*\bfrom\s*"(\d+)"|\bimport\s*\(?\s*"(\d+)"|\brequire(?:\.resolve)?\s*\(\s*"(\d+)"/gu

/** A file from its path and text: planted ones are made like real ones. */
export const source = (path: string, text: string): Source => {
  const { code, strings } = masked(text)
  const imports = [...code.matchAll(importing)].map((match): Import => {
    const [, type, clause = "", from, bare, required] = match
    const names = (/\{([^}]*)\}/u.exec(clause)?.[1] ?? "").split(",").map((name) => name.trim()).filter((name) => name !== "")
    return {
      specifier: strings[Number(from ?? bare ?? required)] ?? "",
      line: lineOf(code, match.index),
      typeOnly: type !== undefined || (names.length > 0 && !/^[\w$*]/u.test(clause.trim()) && names.every((name) => name.startsWith("type "))),
      names: names.map((name) => name.replace(/^type\s+/u, "").replace(/\s+as\s.*$/u, ""))
    }
  })
  return { path, text, code, strings, imports }
}

export const root = join(import.meta.dirname, "../..")

const rooms = ["schemas", "libs", "services", "infra", "tools", "tests"]

/** Every program file of the product, committed or not. */
export const sourcesOnDisk = (): ReadonlyArray<Source> =>
  rooms.flatMap((room) => filesBelow(room)).filter((path) => /\.(ts|mts|mjs|js)$/u.test(path)).map((path) => source(path, readFileSync(join(root, path), "utf8")))

export const filesBelow = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.name.startsWith(".") || entry.name === "node_modules") return []
    return entry.isDirectory() ? filesBelow(path) : [path]
  }).sort()

/** The workspaces' names and the folders that they stand for. */
export const packagesOnDisk = (): ReadonlyMap<string, string> =>
  new Map(rooms.flatMap((room) => filesBelow(room)).filter((path) => path.endsWith("/package.json"))
    .map((path) => [(JSON.parse(readFileSync(join(root, path), "utf8")) as { name: string }).name, dirname(path)] as const))

/** Where an import leads: into a file of ours, to the door of a package of ours, or out. */
export type Target = { readonly to: "file" | "door"; readonly path: string } | { readonly to: "outside"; readonly name: string }

export const targetOf = ({ path }: Source, { specifier }: Import, packages: ReadonlyMap<string, string>): Target => {
  if (specifier.startsWith(".")) return { to: "file", path: join(dirname(path), specifier) }
  const [scope, name] = specifier.split("/")
  const folder = packages.get(`${scope}/${name}`)
  return folder === undefined ? { to: "outside", name: specifier } : { to: "door", path: folder }
}
